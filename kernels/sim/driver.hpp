// driver.hpp: the machine behind the stand-in driver: settings, objects, memory, and streams that do their work late. The
// entries, and what all this is for, stand in cuda.cpp, which alone includes it.
#ifndef ICT_SIM_DRIVER_HPP
#define ICT_SIM_DRIVER_HPP

#include "sim.h"

#include <cuda.h>
#include <dlfcn.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#endif

#include <algorithm>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace {

using Work = std::function<void()>;

void complain(const char *format, ...) {
	va_list args;
	va_start(args, format);
	fputs("ict simulator: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
}

// ---------------------------------------------------------------------------------------------------- settings

struct Failure {
	std::string name;
	long nth;
	int code;
	long seen;
};

struct {
	bool early, strict;
	uint64_t seed;
	std::vector<Failure> failures;
} settings;

long number(const char *name, long otherwise) {
	const char *v = getenv(name);
	return v && *v ? strtol(v, nullptr, 10) : otherwise;
}

void loadSettings() {
	const char *timing = getenv("ICT_SIM_TIMING");
	settings.early = timing && !strcmp(timing, "early");
	settings.strict = number("ICT_SIM_STRICT", 0);
	settings.seed = uint64_t(number("ICT_SIM_SEED", 0));
	settings.failures.clear();
	std::string list = getenv("ICT_SIM_FAIL") ? getenv("ICT_SIM_FAIL") : "";
	for (size_t at = 0; at < list.size();) {
		size_t end = std::min(list.find(',', at), list.size());
		char name[64];
		long nth;
		int code;
		if (sscanf(list.substr(at, end - at).c_str(), "%63[^:]:%ld:%d", name, &nth, &code) == 3)
			settings.failures.push_back({name, nth, code, 0});
		else
			complain("ICT_SIM_FAIL: got %s, want name:n:code", list.c_str());
		at = end + 1;
	}
}

// failureOf counts a call and says what it must return. Versions (_v2) are left off names.
int failureOf(const char *name) {
	std::string plain = name;
	size_t v = plain.rfind("_v");
	if (v != std::string::npos && v + 3 == plain.size())
		plain.resize(v);
	for (Failure &f : settings.failures)
		if (f.name == plain && ++f.seen == f.nth)
			return f.code;
	return 0;
}

// ---------------------------------------------------------------------------------------------------- objects

struct Context;
struct Stream;

struct Capture {
	Stream *origin;
	std::vector<Work> work;
	bool invalid = false;
};

struct Mark { // what an event knows; outlives its handle
	uint64_t asked = 0, done = 0;
	double when = 0;
};

struct Event {
	Context *ctx;
	std::shared_ptr<Mark> mark = std::make_shared<Mark>();
	Stream *stream = nullptr;       // of the last record
	Capture *capture = nullptr;     // the last record was captured
};

struct Op {
	Work begin, run;                // begin: as soon as all before it is done
	std::shared_ptr<Mark> record;   // marks this version as done
	std::shared_ptr<Mark> wait;     // until this version is done, by stream
	uint64_t version = 0;
	Stream *stream = nullptr;
	bool begun = false;
};

struct Stream {
	Context *ctx;
	std::deque<Op> queue;
	std::shared_ptr<Capture> capture;
};

struct Graph {
	Context *ctx;
	std::vector<Work> work;
};

struct GraphExec {
	Context *ctx;
	std::shared_ptr<const std::vector<Work>> work;
};

struct Block { // device memory: pages, the last bytes of which are the allocation; slack before and behind it
	size_t size;
	char *pages;
	size_t length; // of pages, without the guard pages on both sides
};

struct Context {
	int device;
	long users = 0;
	int failed = 0; // what every call returns from now on
	size_t used = 0;
	std::map<char *, Block> blocks;
	std::map<char *, size_t> pinned;
	std::set<Stream *> streams;
	std::set<Event *> events;
	std::set<Graph *> graphs;
	std::set<GraphExec *> execs;
};

std::recursive_mutex big; // one call at a time
std::map<int, Context> contexts; // by device; users = 0: none
thread_local Context *current;
thread_local std::shared_ptr<Capture> capturing; // begun by this thread
uint64_t dice;
const size_t page = size_t(sysconf(_SC_PAGESIZE));
constexpr size_t alignment = 256;
constexpr unsigned char slack = 0x7F; // on the pages of an allocation, outside it: f32 and bf16 3.4e38, f16 NaN
constexpr size_t quarantined = 1024;  // freed blocks whose addresses are not given out again yet

Context *live(Context *c) { return c && c->users > 0 ? c : nullptr; }

enum Need { NoContext = 0, NeedContext = 1, NotInCapture = 3 }; // NotInCapture needs a context, too

// Call is the beginning of every entry.
struct Call {
	std::lock_guard<std::recursive_mutex> lock{big};
	Context *ctx = nullptr;
	CUresult status = CUDA_SUCCESS;

	Call(const char *name, Need need) {
		if (int code = failureOf(name)) {
			status = CUresult(code);
			return;
		}
		if (need == NoContext)
			return;
		ctx = live(current);
		if (!ctx) {
			complain("%s: no context is current on this thread", name);
			status = CUDA_ERROR_INVALID_CONTEXT;
		} else if (ctx->failed) {
			status = CUresult(ctx->failed);
		} else if (need == NotInCapture && capturing) {
			complain("%s: not allowed while this thread captures", name);
			capturing->invalid = true;
			status = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
		}
	}
};

#define ENTER(need)              \
	Call call(__func__, need);   \
	if (call.status)             \
		return call.status;      \
	Context *ctx = call.ctx;     \
	(void)ctx

template <class T, class H> T *handle(std::set<T *> &all, H h) {
	T *p = reinterpret_cast<T *>(h);
	return all.count(p) ? p : nullptr;
}

// ---------------------------------------------------------------------------------------------------- memory

int openCount;

void protect(int how) {
	for (auto &c : contexts)
		for (auto &b : c.second.blocks)
			mprotect(b.second.pages, b.second.length, how);
}

// Open makes device memory accessible while work runs.
struct Open {
	Open() {
		if (settings.strict && openCount++ == 0)
			protect(PROT_READ | PROT_WRITE);
	}
	~Open() {
		if (settings.strict && --openCount == 0)
			protect(PROT_NONE);
	}
};

template <class Size> bool inside(const std::map<char *, Size> &all, const void *at, size_t bytes, size_t (*size)(const Size &)) {
	char *p = static_cast<char *>(const_cast<void *>(at));
	auto next = all.upper_bound(p);
	if (next == all.begin())
		return false;
	auto it = std::prev(next);
	return size_t(p - it->first) <= size(it->second) && bytes <= size(it->second) - size_t(p - it->first);
}

bool onDevice(Context *ctx, CUdeviceptr at, size_t bytes) {
	return inside<Block>(ctx->blocks, reinterpret_cast<void *>(at), bytes, [](const Block &b) { return b.size; });
}

bool onHost(const char *name, Context *ctx, const void *at, size_t bytes) {
	if (inside<size_t>(ctx->pinned, at, bytes, [](const size_t &s) { return s; }))
		return true;
	complain("%s: %zu bytes at %p are not page-locked", name, bytes, at);
	return false;
}

// release gives a block back; false: somebody wrote beside it. Its pages stay closed for a while: whoever still uses them faults.
bool release(Context *ctx, std::map<char *, Block>::iterator it) {
	static std::deque<std::pair<char *, size_t>> freed;
	Open open;
	Block b = it->second;
	char *at = it->first, *end = at + b.size, *stop = b.pages + b.length;
	auto clean = [](const char *from, const char *to) {
		return std::all_of(from, to, [](char c) { return static_cast<unsigned char>(c) == slack; });
	};
	ASAN_UNPOISON_MEMORY_REGION(b.pages, b.length);
	bool before = clean(b.pages, at), behind = clean(end, stop);
	if (!before || !behind)
		complain("somebody wrote %s an allocation of %zu bytes", behind ? "before the beginning of" : "behind the end of", b.size);
	ctx->used -= b.size;
	ctx->blocks.erase(it);
	mprotect(b.pages, b.length, PROT_NONE);
	madvise(b.pages, b.length, MADV_DONTNEED);
	freed.emplace_back(b.pages - page, b.length + 2 * page);
	if (freed.size() > quarantined) {
		munmap(freed.front().first, freed.front().second);
		freed.pop_front();
	}
	return before && behind;
}

// ---------------------------------------------------------------------------------------------------- work

double now() {
	return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void begin(Stream *s) {
	if (s->queue.empty() || s->queue.front().begun)
		return;
	s->queue.front().begun = true;
	if (s->queue.front().begin) {
		Open open;
		s->queue.front().begin();
	}
}

// drop forgets all work after a fault; nobody waits for it.
void drop(Context *ctx) {
	for (Stream *s : ctx->streams) {
		for (Op &op : s->queue)
			if (op.record)
				op.record->done = std::max(op.record->done, op.version);
		s->queue.clear();
	}
}

// step does the first thing in the queue of s, and before it what that waits for.
void step(Stream *s) {
	static bool wandering;
	if (settings.seed && !wandering) { // another stream may run ahead
		wandering = true;
		dice = dice * 6364136223846793005u + 1442695040888963407u;
		std::vector<Stream *> busy;
		for (Stream *o : s->ctx->streams)
			if (o != s && !o->queue.empty())
				busy.push_back(o);
		if (!busy.empty() && (dice >> 33) % 3 == 0)
			step(busy[(dice >> 40) % busy.size()]);
		wandering = false;
	}
	begin(s);
	while (!s->queue.empty() && s->queue.front().wait && s->queue.front().wait->done < s->queue.front().version)
		step(s->queue.front().stream);
	if (s->queue.empty()) // done on the way, or dropped
		return;
	Op op = std::move(s->queue.front());
	s->queue.pop_front();
	if (op.run) {
		Open open;
		op.run();
	}
	if (op.record) {
		op.record->done = std::max(op.record->done, op.version);
		op.record->when = now();
	}
	if (s->ctx->failed)
		drop(s->ctx);
	begin(s);
}

void drain(Stream *s) {
	Open open;
	while (!s->queue.empty())
		step(s);
}

void drain(Context *ctx) {
	Open open;
	for (Stream *s : std::set<Stream *>(ctx->streams))
		drain(s);
}

void push(Stream *s, Op op) {
	s->queue.push_back(std::move(op));
	if (settings.early)
		drain(s);
	else
		begin(s);
}

// queue puts work on a stream, or into the graph that is being captured.
CUresult queue(Context *ctx, CUstream stream, Work run, Work begin = nullptr) {
	Stream *s = handle(ctx->streams, stream);
	if (!s)
		return CUDA_ERROR_INVALID_HANDLE;
	if (s->capture) {
		s->capture->work.push_back(std::move(run));
		return CUDA_SUCCESS;
	}
	Op op;
	op.run = std::move(run);
	op.begin = std::move(begin);
	push(s, std::move(op));
	return CUresult(ctx->failed);
}

int launched(ict_stream stream, Work work) {
	Call call("cuLaunchKernel", NeedContext);
	if (call.status)
		return call.status;
	Context *ctx = call.ctx;
	if (int code = failureOf("launch"))
		work = [ctx, code] { ctx->failed = code; };
	return queue(ctx, reinterpret_cast<CUstream>(stream), std::move(work));
}

CUresult copy(const char *name, Context *ctx, void *dst, const void *src, size_t bytes, bool to, bool from, CUstream stream) {
	bool ok = to ? onDevice(ctx, CUdeviceptr(dst), bytes) : onHost(name, ctx, dst, bytes);
	ok = ok && (from ? onDevice(ctx, CUdeviceptr(src), bytes) : onHost(name, ctx, src, bytes));
	if (!ok)
		return CUDA_ERROR_INVALID_VALUE;
	return queue(ctx, stream, [=] { memmove(dst, src, bytes); }, [=] { memset(dst, 0xFF, bytes); });
}

CUresult fill(Context *ctx, CUdeviceptr dst, size_t pitch, uint32_t value, size_t element, size_t width, size_t height, CUstream stream) {
	if (!height || !width)
		return CUDA_SUCCESS;
	if (!onDevice(ctx, dst, (height - 1) * pitch + width * element))
		return CUDA_ERROR_INVALID_VALUE;
	return queue(ctx, stream, [=] {
		for (size_t y = 0; y < height; y++) {
			char *row = reinterpret_cast<char *>(dst) + y * pitch;
			if (element == 1)
				memset(row, int(value), width);
			else
				for (size_t x = 0; x < width; x++)
					memcpy(row + x * element, &value, element);
		}
	});
}

} // namespace

#endif
