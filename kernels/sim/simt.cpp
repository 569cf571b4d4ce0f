// simt.cpp: runs a grid of GPU threads as fibers. One block at a time on each of several OS threads; inside a block one
// fiber runs until it meets a barrier, a collective or its end. Where the hardware leaves an order open the simulator
// takes it from ICT_SIM_SEED (0: in order), so that a kernel that relies on luck shows it.
//
//   ICT_SIM_SEED=n             order of blocks and fibers. Even: any fiber that can go on may be next. Odd: one warp runs
//                              ahead of the others until it waits for the block, then another one does
//   ICT_SIM_TIMING=late|early  asynchronous copies take effect at the last (default) or first legal moment
//   ICT_SIM_THREADS=n          OS threads; default: as many as there are cores, at most 8
//   ICT_SIM_NOISE=1            approximations are off by up to 2 ulp
//
// A broken rule (deadlock, lanes that disagree, misaligned or out-of-bounds shared memory, an asynchronous copy whose
// source changed under it) prints what and where on stderr and aborts.
//
// What it does not have, and what cannot be seen here: README.md.
#include "sim.h"
#include "intrin_sim.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
static void __sanitizer_start_switch_fiber(void **, const void *, size_t) {}
static void __sanitizer_finish_switch_fiber(void *, const void **, size_t *) {}
#endif

// ict_sim_switch saves the callee-saved registers and the stack pointer, and goes on where the other stack left off.
// ucontext would make a system call for each switch.
extern "C" void ict_sim_switch(void **save, void *load);
asm(R"(
.text
.globl ict_sim_switch
.hidden ict_sim_switch
.type ict_sim_switch, @function
ict_sim_switch:
	pushq %rbp
	pushq %rbx
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, (%rdi)
	movq %rsi, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbx
	popq %rbp
	ret
.size ict_sim_switch, .-ict_sim_switch
)");

namespace ict::sim {

__thread const Builtins *builtins;

namespace {

constexpr size_t kStack = 256 << 10;    // big register arrays live here; mapped lazily
constexpr size_t kGuard = 4096;
constexpr size_t kRedzone = 1024;       // on both sides of shared memory; keeps its 1024-byte alignment
constexpr size_t kMaxShared = 227 << 10;
constexpr int kMaxThreads = 1024;
constexpr unsigned char kPoison = 0xff; // a NaN in f32, f16 and bf16
constexpr unsigned char kCanary = 0xc3;

struct Settings {
	uint64_t seed;
	bool early, noise;
	int threads;
};

const Settings &settings() {
	static const Settings s = [] {
		auto number = [](const char *name, long fallback) {
			const char *v = std::getenv(name);
			return v && *v ? std::strtol(v, nullptr, 10) : fallback;
		};
		const char *timing = std::getenv("ICT_SIM_TIMING");
		long cores = std::max(1u, std::thread::hardware_concurrency());
		return Settings{uint64_t(number("ICT_SIM_SEED", 0)), timing && std::string(timing) == "early", number("ICT_SIM_NOISE", 0) != 0,
		                int(std::clamp(number("ICT_SIM_THREADS", std::min(cores, 8L)), 1L, 256L))};
	}();
	return s;
}

uint64_t mix(uint64_t z) { // the finaliser of SplitMix64
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

struct Copy {
	void *to;
	const void *from; // null: zeros
	unsigned char seen[16];
	Place at;
};

struct Fiber {
	void *sp = nullptr;
	unsigned char *stack = nullptr;
	void *fake = nullptr; // AddressSanitizer's
	Builtins builtins;
	bool done = false;
	const char *waits = "";
	Place at = {"", 0};
	std::vector<Copy> open;
	std::deque<std::vector<Copy>> groups;
};

struct Barrier {
	int expected = 0, arrived = 0;
	std::vector<int> waiting;
};

struct Meeting {
	unsigned mask = 0, arrived = 0;
	Complete complete = nullptr;
	void *args[32];
};

// The collectives that lanes of a warp wait at. Groups of lanes may wait at several at once, each with its mask.
struct Warp {
	int pending = 0;
	Meeting meetings[32];
};

struct Grid {
	dim3 grid, block;
	size_t smem;
	std::function<void()> body;
};

// A Worker runs blocks on one OS thread, with memory of its own.
class Worker {
public:
	void run(const Grid &g, dim3 index, uint64_t number);

	std::vector<Fiber> fibers;
	int current = 0;
	const Grid *grid = nullptr;
	unsigned char *shared = nullptr;

	int threads() const { return int(grid->block.x * grid->block.y * grid->block.z); }
	void wait(const char *what, Place at);
	void wake(int fiber) { ready[(head + count++) % kMaxThreads] = fiber; }
	Barrier barriers[16];
	std::vector<Warp> warps;
	[[noreturn]] void deadlock();
	void end();
	const void *bottom = nullptr; // of this OS thread's own stack
	size_t size = 0;

private:
	void start(int i, dim3 index);
	int pick();
	void *sp = nullptr, *fake = nullptr;
	int ready[kMaxThreads], head = 0, count = 0, live = 0;
	uint64_t random = 0;
	int ahead = -1; // the warp that runs ahead
	unsigned char *arena = nullptr;
};

__thread Worker *worker;

#if defined(__SANITIZE_ADDRESS__)
__attribute__((no_sanitize_address)) // its frame is never left, so it must hold no redzones
#endif
void fiber_entry() {
	Worker *w = worker;
	__sanitizer_finish_switch_fiber(nullptr, &w->bottom, &w->size);
	w->grid->body();
	w->end();
}

void Worker::start(int i, dim3 index) {
	Fiber &f = fibers[i];
	if (!f.stack) {
		void *p = mmap(nullptr, kGuard + kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == MAP_FAILED || mprotect(p, kGuard, PROT_NONE) != 0) fail("no memory for a stack", ICT_HERE);
		f.stack = static_cast<unsigned char *>(p) + kGuard;
	}
	void **top = reinterpret_cast<void **>(f.stack + kStack);
	top[-1] = nullptr; // the entry's return address: none
	top[-2] = reinterpret_cast<void *>(fiber_entry);
	for (int r = 3; r <= 8; r++) top[-r] = nullptr;
	f.sp = top - 8;
	f.fake = nullptr;
	f.done = false;
	f.open.clear();
	f.groups.clear();
	unsigned x = grid->block.x, y = grid->block.y;
	f.builtins = {dim3(i % x, i / x % y, i / (x * y)), index, grid->block, grid->grid};
}

int Worker::pick() {
	if (settings().seed != 0 && count > 1) {
		int next = 0;
		if (settings().seed % 2 == 1)
			while (next < count && ready[(head + next) % kMaxThreads] / 32 != ahead) next++;
		if (settings().seed % 2 == 0 || next == count) { // nobody of it can go on
			random = mix(random + 0x9e3779b97f4a7c15);
			next = int(random % uint64_t(count));
		}
		std::swap(ready[head], ready[(head + next) % kMaxThreads]);
	}
	int i = ready[head];
	ahead = i / 32;
	head = (head + 1) % kMaxThreads;
	count--;
	return i;
}

void Worker::run(const Grid &g, dim3 index, uint64_t number) {
	worker = this;
	grid = &g;
	int n = threads();
	if (int(fibers.size()) < n) fibers.resize(n);
	if (int(warps.size()) < (n + 31) / 32) warps.resize((n + 31) / 32);
	for (Barrier &b : barriers) b = Barrier{};
	if (!arena) {
		void *p = nullptr;
		if (posix_memalign(&p, 1024, kMaxShared + 2 * kRedzone) != 0) fail("no memory for shared memory", ICT_HERE);
		arena = static_cast<unsigned char *>(p);
	}
	shared = arena + kRedzone;
	ASAN_UNPOISON_MEMORY_REGION(arena, kMaxShared + 2 * kRedzone);
	std::memset(arena, kCanary, kRedzone);
	std::memset(shared, kPoison, g.smem);
	std::memset(shared + g.smem, kCanary, kRedzone);
	ASAN_POISON_MEMORY_REGION(arena, kRedzone);
	ASAN_POISON_MEMORY_REGION(shared + g.smem, kRedzone);

	random = mix(settings().seed ^ mix(number));
	head = count = 0;
	live = n;
	for (int i = 0; i < n; i++) {
		start(i, index);
		wake(i);
	}
	while (live > 0) {
		if (count == 0) deadlock();
		current = pick();
		Fiber &f = fibers[current];
		builtins = &f.builtins;
		__sanitizer_start_switch_fiber(&fake, f.stack, kStack);
		ict_sim_switch(&sp, f.sp);
		__sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
	}
	builtins = nullptr;
	ASAN_UNPOISON_MEMORY_REGION(arena, kMaxShared + 2 * kRedzone);
	for (size_t i = 0; i < kRedzone; i++)
		if (arena[i] != kCanary || shared[g.smem + i] != kCanary) fail("a kernel wrote beside its shared memory", ICT_HERE);
}

// wait gives the OS thread to another fiber until somebody wakes this one.
void Worker::wait(const char *what, Place at) {
	Fiber &f = fibers[current];
	f.waits = what;
	f.at = at;
	__sanitizer_start_switch_fiber(&f.fake, bottom, size);
	ict_sim_switch(&f.sp, sp);
	__sanitizer_finish_switch_fiber(f.fake, nullptr, nullptr);
}

void Worker::end() {
	Fiber &f = fibers[current];
	f.done = true;
	live--;
	__sanitizer_start_switch_fiber(nullptr, bottom, size);
	ict_sim_switch(&f.sp, sp);
	std::abort(); // a finished fiber is never resumed
}

void Worker::deadlock() {
	const dim3 &b = fibers[0].builtins.block;
	std::fprintf(stderr, "ict sim: deadlock in block (%u,%u,%u): nobody can go on\n", b.x, b.y, b.z);
	for (int i = 0, n = threads(); i < n;) {
		const Fiber &f = fibers[i];
		int j = i + 1;
		while (j < n && fibers[j].done == f.done && (f.done || (fibers[j].at.line == f.at.line && fibers[j].waits == f.waits))) j++;
		if (f.done) std::fprintf(stderr, "  threads %d to %d: returned\n", i, j - 1);
		else std::fprintf(stderr, "  threads %d to %d: %s, %s:%d\n", i, j - 1, f.waits, f.at.file, f.at.line);
		i = j;
	}
	std::abort();
}

// The Pool hands blocks to the OS threads. It is never destroyed: its threads wait until the process ends.
struct Job {
	std::shared_ptr<const Grid> grid;
	uint64_t total, next = 0, done = 0, step, first;
	std::condition_variable finished;
};

class Pool {
public:
	void run(std::shared_ptr<const Grid> g) {
		Job job;
		job.total = uint64_t(g->grid.x) * g->grid.y * g->grid.z;
		job.grid = std::move(g);
		uint64_t seed = settings().seed;
		job.step = 1;
		job.first = 0;
		if (seed != 0) {
			job.step = mix(seed) % job.total | 1;
			while (std::gcd(job.step, job.total) != 1) job.step += 2;
			job.step %= job.total;
			if (job.step == 0) job.step = 1; // one block
			job.first = mix(seed + 1) % job.total;
		}
		std::unique_lock<std::mutex> lock(mutex);
		while (int(started) < settings().threads) {
			started++;
			std::thread([this] { work(); }).detach();
		}
		jobs.push_back(&job);
		wakeup.notify_all();
		job.finished.wait(lock, [&] { return job.done == job.total; });
	}

private:
	void work() {
		sigset_t all; // the program's signals go to its own threads; faults stay here
		sigfillset(&all);
		for (int s : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP}) sigdelset(&all, s);
		pthread_sigmask(SIG_BLOCK, &all, nullptr);
		Worker *w = new Worker;
		std::unique_lock<std::mutex> lock(mutex);
		for (;;) {
			wakeup.wait(lock, [&] { return !jobs.empty(); });
			Job *job = jobs.front();
			uint64_t i = job->next++;
			if (job->next == job->total) jobs.pop_front();
			lock.unlock();
			uint64_t number = (job->first + uint64_t((unsigned __int128)i * job->step % job->total)) % job->total;
			const dim3 &g = job->grid->grid;
			w->run(*job->grid, dim3(unsigned(number % g.x), unsigned(number / g.x % g.y), unsigned(number / g.x / g.y)), number);
			lock.lock();
			if (++job->done == job->total) job->finished.notify_all();
		}
	}
	std::mutex mutex;
	std::condition_variable wakeup;
	std::deque<Job *> jobs;
	size_t started = 0;
};

std::atomic<ict_sim_enqueue> hook;

size_t shared_limit(int sm) { // CUDA programming guide, table of compute capabilities
	return sm >= 90 ? 227 << 10 : sm == 86 || sm == 89 ? 99 << 10 : 163 << 10;
}

void perform(const Copy &c) {
	for (int i = 0; i < 16; i++)
		if (static_cast<unsigned char *>(c.to)[i] != kPoison) fail("the destination of a pending copy was written", c.at);
	if (!c.from) {
		std::memset(c.to, 0, 16);
		return;
	}
	if (std::memcmp(c.seen, c.from, 16) != 0) fail("the source of a pending copy changed", c.at);
	std::memcpy(c.to, c.from, 16);
}

Fiber &self() { return worker->fibers[worker->current]; }

} // namespace

void fail(const char *what, Place at) {
	std::fprintf(stderr, "ict sim: %s, %s:%d", what, at.file, at.line);
	if (builtins) {
		const dim3 &b = builtins->block, &t = builtins->thread;
		std::fprintf(stderr, ", block (%u,%u,%u) thread (%u,%u,%u)", b.x, b.y, b.z, t.x, t.y, t.z);
	}
	std::fputc('\n', stderr);
	std::abort();
}

int launch(dim3 grid, dim3 block, size_t smem, const ict_exec *ex, std::function<void()> body) {
	enum { invalid_value = 1, invalid_configuration = 9 }; // cudaError_t
	uint64_t threads = uint64_t(block.x) * block.y * block.z;
	if (threads < 1 || threads > uint64_t(kMaxThreads) || block.z > 64) return invalid_configuration;
	if (grid.x < 1 || grid.y < 1 || grid.z < 1 || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) return invalid_configuration;
	if (smem > shared_limit(ex->sm)) return invalid_value;
	auto g = std::make_shared<const Grid>(Grid{grid, block, smem, std::move(body)});
	auto work = [g] {
		static Pool *pool = new Pool;
		pool->run(g);
	};
	if (ict_sim_enqueue h = hook.load()) return h(ex->stream, work);
	work();
	return 0;
}

void barrier(int id, int threads, bool wait, Place at) {
	Worker *w = worker;
	if (id == 0) threads = w->threads();
	else if (id < 1 || id > 15) fail("named barriers are 1 to 15", at);
	else if (threads < 32 || threads % 32 != 0 || threads > w->threads()) fail("a named barrier counts whole warps of its block", at);
	Barrier &b = w->barriers[id];
	if (b.arrived > 0 && b.expected != threads) fail("threads disagree on the size of a named barrier", at);
	b.expected = threads;
	b.arrived++;
	if (b.arrived < threads) {
		if (!wait) return;
		b.waiting.push_back(w->current);
		w->wait(id == 0 ? "sync_block" : "sync_named", at);
		return;
	}
	b.arrived = 0;
	for (int i : b.waiting) w->wake(i);
	b.waiting.clear();
	if (wait && settings().seed != 0) { // the last to come need not be the first to go
		w->wake(w->current);
		w->wait("sync", at);
	}
}

void warp_collective(unsigned mask, const char *what, void *arg, Complete complete, Place at) {
	Worker *w = worker;
	int lane = w->current & 31, first = w->current - lane;
	if (!(mask >> lane & 1)) fail("a lane calls a collective whose mask it is not in", at);
	int in_warp = std::min(32, w->threads() - first);
	if (in_warp < 32 && mask >> in_warp) fail("the mask names lanes that do not exist", at);
	Warp &in = w->warps[first / 32];
	Meeting *found = nullptr, *free = nullptr;
	for (int i = 0, seen = 0; i < 32 && !found && !(free && seen == in.pending); i++) {
		Meeting &m = in.meetings[i];
		if (m.arrived != 0) {
			seen++;
			if (m.mask == mask) found = &m;
		} else if (!free) {
			free = &m;
		}
	}
	if (!found) {
		found = free; // there is one: each pending meeting has a lane of its own
		found->mask = mask;
		found->complete = complete;
		in.pending++;
	} else if (found->complete != complete) {
		fail("the lanes of a warp disagree on a collective", at);
	}
	Meeting &m = *found;
	m.arrived |= 1u << lane;
	m.args[lane] = arg;
	if (m.arrived != mask) {
		w->wait(what, at);
		return;
	}
	m.arrived = 0;
	in.pending--;
	complete(m.args, mask, at);
	for (int i = 0; i < 32; i++)
		if (i != lane && mask >> i & 1) w->wake(first + i);
}

unsigned char *shared_bytes(size_t need, Place at) {
	if (need > worker->grid->smem) fail("the launch gave less shared memory than the kernel uses", at);
	return worker->shared;
}

void check_shared(const void *p, size_t bytes, size_t align, const char *what, Place at) {
	const unsigned char *from = worker->shared, *q = static_cast<const unsigned char *>(p);
	size_t smem = worker->grid->smem;
	if (q < from || bytes > smem || q > from + smem - bytes) {
		fail((std::string(what) + ": address outside shared memory").c_str(), at);
	}
	if (size_t(q - from) % align != 0) fail((std::string(what) + ": misaligned address").c_str(), at);
}

void copy_async16(void *smem, const void *gmem, bool valid, Place at) {
	check_shared(smem, 16, 16, "copy_async16", at);
	if (valid && reinterpret_cast<uintptr_t>(gmem) % 16 != 0) fail("copy_async16: misaligned source", at);
	Copy c = {smem, valid ? gmem : nullptr, {}, at};
	if (valid) std::memcpy(c.seen, gmem, 16);
	std::memset(smem, kPoison, 16);
	if (settings().early) perform(c);
	else self().open.push_back(c);
}

void copy_commit() {
	Fiber &f = self();
	f.groups.push_back(std::move(f.open));
	f.open.clear();
}

void copy_wait(int pending, Place) {
	Fiber &f = self();
	while (int(f.groups.size()) > pending) {
		for (const Copy &c : f.groups.front()) perform(c);
		f.groups.pop_front();
	}
}

float noise(float x) {
	if (!settings().noise || !std::isnormal(x)) return x;
	uint32_t b = float_bits(x);
	return bits_float(b + uint32_t(mix(b) % 5) - 2);
}

} // namespace ict::sim

const char *ict::runtime_error_text(int status) {
	switch (status) {
	case 1: return "invalid argument";
	case 2: return "out of memory";
	case 9: return "invalid configuration argument";
	case 201: return "invalid device context";
	case 700: return "an illegal memory access was encountered";
	case 719: return "unspecified launch failure";
	case 900: return "operation not permitted when stream is capturing";
	case 901: return "operation failed due to a previous error during capture";
	default: return "unrecognized error code";
	}
}

void ict_sim_attach(ict_sim_enqueue h) { ict::sim::hook.store(h); }
