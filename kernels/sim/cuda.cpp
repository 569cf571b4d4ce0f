// cuda.cpp: a stand-in for libcuda.so.1 on machines without a GPU, for tests. It makes mistakes of the program show.
//
//   * Every entry looks at the context of the calling thread: a goroutine that changed threads fails here.
//   * Streams are lazy. Work waits until a synchronisation, a query or an event forces it, and other streams follow only as
//     far as they must: a forgotten wait reads what was there before. ICT_SIM_TIMING=early runs everything at once.
//   * A copy reads its source when it runs. From the moment it could have begun until then its destination is NaN.
//   * Memory comes full of NaN, at the end of its pages, between pages that nobody may touch; what is freed is closed; a byte
//     written beside it, and what is left at the last release, are errors. (At exit would be later, but Go leaves by
//     exit_group and runs nobody's handlers.)
//   * Host memory of asynchronous copies must be page-locked.
//   * Capture keeps launches with their arguments; calls that capture forbids end it.
//
// Environment, read when the first context is made:
//
//   ICT_SIM_DEVICES=2        devices (1)
//   ICT_SIM_SM=90            compute capability x 10 (80)
//   ICT_SIM_MEMORY=1000000   bytes of each device (16 GiB)
//   ICT_SIM_TIMING=early     see above (late)
//   ICT_SIM_SEED=7           lets other streams run ahead at random (0: never)
//   ICT_SIM_STRICT=1         pages of device memory are closed while no work runs (slow with many allocations)
//   ICT_SIM_FAIL=cuMemAlloc:3:2,launch:5:700   the third cuMemAlloc returns 2; the fifth launch faults, which the context
//                            keeps as every later answer
//   ICT_SIM_SIGNALS=1        installs a SIGCHLD handler without SA_ONSTACK, as some libraries do
//
// Entries that do nothing here are made by dev/forward-cuda.sh stubs: they return CUDA_ERROR_NOT_SUPPORTED.
//
// What it does not have: README.md.
#include "driver.hpp"

#define API extern "C" __attribute__((visibility("default"))) CUresult

namespace {

struct sigaction chained;

void takeSignal(int sig, siginfo_t *info, void *uc) {
	if (chained.sa_flags & SA_SIGINFO)
		chained.sa_sigaction(sig, info, uc);
}

const struct { CUresult code; const char *name, *text; } texts[] = {
	{CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
	{CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
	{CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
	{CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
	{CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
	{CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
	{CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
	{CUDA_ERROR_ILLEGAL_STATE, "CUDA_ERROR_ILLEGAL_STATE", "the operation cannot be performed in the present state"},
	{CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
	{CUDA_ERROR_NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
	{CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
	{CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
	{CUDA_ERROR_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
	{CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
	{CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"},
	{CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION", "dependency created on uncaptured work in another stream"},
	{CUDA_ERROR_CAPTURED_EVENT, "CUDA_ERROR_CAPTURED_EVENT", "operation not permitted on an event last recorded in a capturing stream"},
	{CUDA_ERROR_UNKNOWN, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

} // namespace

// What a stub calls.
extern "C" int ict_sim_unsupported(const char *name) {
	static std::set<std::string> said;
	std::lock_guard<std::recursive_mutex> lock(big);
	if (said.insert(name).second)
		complain("%s does nothing here", name);
	return CUDA_ERROR_NOT_SUPPORTED;
}

// ---------------------------------------------------------------------------------------------------- library, devices

API cuInit(unsigned) {
	loadSettings();
	ENTER(NoContext);
	if (void *attach = dlsym(RTLD_DEFAULT, "ict_sim_attach"))
		reinterpret_cast<void (*)(ict_sim_enqueue)>(attach)(launched);
	return CUDA_SUCCESS;
}

API cuDriverGetVersion(int *version) {
	ENTER(NoContext);
	*version = CUDA_VERSION;
	return CUDA_SUCCESS;
}

API cuGetErrorName(CUresult code, const char **name) {
	for (auto &t : texts)
		if (t.code == code) {
			*name = t.name;
			return CUDA_SUCCESS;
		}
	*name = nullptr;
	return CUDA_ERROR_INVALID_VALUE;
}

API cuGetErrorString(CUresult code, const char **text) {
	for (auto &t : texts)
		if (t.code == code) {
			*text = t.text;
			return CUDA_SUCCESS;
		}
	*text = nullptr;
	return CUDA_ERROR_INVALID_VALUE;
}

API cuGetProcAddress(const char *, void **entry, int, cuuint64_t, CUdriverProcAddressQueryResult *result) {
	ENTER(NoContext);
	*entry = nullptr; // no tensor maps: launchers stay on kernels without TMA
	if (result)
		*result = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
	return CUDA_ERROR_NOT_FOUND;
}

static int deviceCount() { return int(number("ICT_SIM_DEVICES", 1)); }
static size_t deviceMemory() { return size_t(number("ICT_SIM_MEMORY", 16L << 30)); }

#define DEVICE(d)                        \
	if ((d) < 0 || (d) >= deviceCount()) \
	return CUDA_ERROR_INVALID_DEVICE

API cuDeviceGetCount(int *count) {
	ENTER(NoContext);
	*count = deviceCount();
	return CUDA_SUCCESS;
}

API cuDeviceGet(CUdevice *device, int ordinal) {
	ENTER(NoContext);
	DEVICE(ordinal);
	*device = ordinal;
	return CUDA_SUCCESS;
}

API cuDeviceGetName(char *name, int length, CUdevice d) {
	ENTER(NoContext);
	DEVICE(d);
	snprintf(name, size_t(length), "ict simulator (not a GPU)");
	return CUDA_SUCCESS;
}

API cuDeviceGetUuid(CUuuid *uuid, CUdevice d) {
	ENTER(NoContext);
	DEVICE(d);
	memset(uuid, 0, sizeof *uuid);
	uuid->bytes[15] = char(d + 1);
	return CUDA_SUCCESS;
}

API cuDeviceTotalMem(size_t *bytes, CUdevice d) {
	ENTER(NoContext);
	DEVICE(d);
	*bytes = deviceMemory();
	return CUDA_SUCCESS;
}

API cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice d) {
	ENTER(NoContext);
	DEVICE(d);
	int sm = int(number("ICT_SIM_SM", 80));
	switch (attribute) {
	case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = sm / 10; break;
	case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = sm % 10; break;
	case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 4; break;
	case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; break;
	default: *value = 0;
	}
	return CUDA_SUCCESS;
}

// ---------------------------------------------------------------------------------------------------- contexts

API cuDevicePrimaryCtxSetFlags(CUdevice d, unsigned) {
	ENTER(NoContext);
	DEVICE(d);
	return CUDA_SUCCESS;
}

API cuDevicePrimaryCtxRetain(CUcontext *out, CUdevice d) {
	bool first = true;
	{
		std::lock_guard<std::recursive_mutex> lock(big);
		for (auto &c : contexts)
			first = first && c.second.users == 0;
		if (first)
			loadSettings();
	}
	ENTER(NoContext);
	DEVICE(d);
	if (first && number("ICT_SIM_SIGNALS", 0)) {
		struct sigaction take = {};
		take.sa_sigaction = takeSignal;
		take.sa_flags = SA_SIGINFO | SA_RESTART;
		sigaction(SIGCHLD, nullptr, &chained);
		if (chained.sa_sigaction != takeSignal)
			sigaction(SIGCHLD, &take, nullptr);
	}
	dice = settings.seed;
	Context &c = contexts[d];
	if (c.users++ == 0) {
		c.device = d;
		c.failed = 0;
	}
	*out = reinterpret_cast<CUcontext>(&c);
	return CUDA_SUCCESS;
}

// The last release counts what nobody gave back, frees it and returns CUDA_ERROR_ILLEGAL_STATE for it.
API cuDevicePrimaryCtxRelease(CUdevice d) {
	ENTER(NoContext);
	DEVICE(d);
	Context &c = contexts[d];
	if (c.users == 0)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (--c.users > 0)
		return CUDA_SUCCESS;
	c.users = 1;
	if (c.failed)
		drop(&c);
	else
		drain(&c);
	c.users = 0;
	size_t left = c.blocks.size() + c.pinned.size() + c.streams.size() + c.events.size() + c.graphs.size() + c.execs.size();
	if (c.failed) // nothing could be given back
		left = 0;
	if (left)
		complain("device %d: left behind: %zu allocations (%zu bytes), %zu page-locked, %zu streams, %zu events, %zu graphs, %zu executable graphs",
			int(d), c.blocks.size(), c.used, c.pinned.size(), c.streams.size(), c.events.size(), c.graphs.size(), c.execs.size());
	while (!c.blocks.empty())
		release(&c, c.blocks.begin());
	for (auto &p : c.pinned)
		free(p.first);
	for (Stream *s : c.streams)
		delete s;
	for (Event *e : c.events)
		delete e;
	for (Graph *g : c.graphs)
		delete g;
	for (GraphExec *g : c.execs)
		delete g;
	c = Context();
	c.device = d;
	return left ? CUDA_ERROR_ILLEGAL_STATE : CUDA_SUCCESS;
}

API cuCtxSetCurrent(CUcontext c) {
	ENTER(NoContext);
	current = reinterpret_cast<Context *>(c);
	return CUDA_SUCCESS;
}

API cuCtxGetCurrent(CUcontext *c) {
	ENTER(NoContext);
	*c = reinterpret_cast<CUcontext>(live(current));
	return CUDA_SUCCESS;
}

API cuCtxGetDevice(CUdevice *d) {
	ENTER(NeedContext);
	*d = ctx->device;
	return CUDA_SUCCESS;
}

API cuCtxSynchronize() {
	ENTER(NotInCapture);
	drain(ctx);
	return CUresult(ctx->failed);
}

// ---------------------------------------------------------------------------------------------------- memory

API cuMemGetInfo(size_t *free, size_t *total) {
	ENTER(NeedContext);
	*total = deviceMemory();
	*free = *total - std::min(*total, ctx->used);
	return CUDA_SUCCESS;
}

API cuMemAlloc(CUdeviceptr *out, size_t bytes) {
	ENTER(NotInCapture);
	if (!bytes)
		return CUDA_ERROR_INVALID_VALUE;
	if (bytes > deviceMemory() || ctx->used > deviceMemory() - bytes)
		return CUDA_ERROR_OUT_OF_MEMORY;
	size_t rounded = (bytes + alignment - 1) / alignment * alignment;
	size_t length = (rounded + page - 1) / page * page;
	char *all = static_cast<char *>(mmap(nullptr, length + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
	if (all == MAP_FAILED || mprotect(all + page, length, PROT_READ | PROT_WRITE))
		return CUDA_ERROR_OUT_OF_MEMORY;
	char *at = all + page + length - rounded;
	memset(all + page, slack, size_t(at - all) - page);
	memset(at, 0xFF, bytes);
	memset(at + bytes, slack, rounded - bytes);
	ASAN_POISON_MEMORY_REGION(all + page, size_t(at - all) - page);
	ASAN_POISON_MEMORY_REGION(at + bytes, rounded - bytes);
	ctx->blocks[at] = {bytes, all + page, length};
	ctx->used += bytes;
	if (settings.strict && openCount == 0)
		mprotect(all + page, length, PROT_NONE);
	*out = CUdeviceptr(at);
	return CUDA_SUCCESS;
}

API cuMemFree(CUdeviceptr p) {
	ENTER(NotInCapture);
	auto it = ctx->blocks.find(reinterpret_cast<char *>(p));
	if (it == ctx->blocks.end())
		return CUDA_ERROR_INVALID_VALUE;
	drain(ctx);
	return release(ctx, it) ? CUresult(ctx->failed) : CUDA_ERROR_ILLEGAL_ADDRESS;
}

API cuMemHostAlloc(void **out, size_t bytes, unsigned) {
	ENTER(NotInCapture);
	if (!bytes)
		return CUDA_ERROR_INVALID_VALUE;
	if (posix_memalign(out, page, bytes))
		return CUDA_ERROR_OUT_OF_MEMORY;
	memset(*out, 0xFF, bytes);
	ctx->pinned[static_cast<char *>(*out)] = bytes;
	return CUDA_SUCCESS;
}

API cuMemFreeHost(void *p) {
	ENTER(NotInCapture);
	if (!ctx->pinned.count(static_cast<char *>(p)))
		return CUDA_ERROR_INVALID_VALUE;
	drain(ctx);
	ctx->pinned.erase(static_cast<char *>(p));
	free(p);
	return CUresult(ctx->failed);
}

API cuMemcpyHtoDAsync(CUdeviceptr dst, const void *src, size_t bytes, CUstream stream) {
	ENTER(NeedContext);
	return copy(__func__, ctx, reinterpret_cast<void *>(dst), src, bytes, true, false, stream);
}

API cuMemcpyDtoHAsync(void *dst, CUdeviceptr src, size_t bytes, CUstream stream) {
	ENTER(NeedContext);
	return copy(__func__, ctx, dst, reinterpret_cast<void *>(src), bytes, false, true, stream);
}

API cuMemcpyDtoDAsync(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream) {
	ENTER(NeedContext);
	return copy(__func__, ctx, reinterpret_cast<void *>(dst), reinterpret_cast<void *>(src), bytes, true, true, stream);
}

API cuMemsetD8Async(CUdeviceptr dst, unsigned char value, size_t n, CUstream stream) {
	ENTER(NeedContext);
	return fill(ctx, dst, n, value, 1, n, 1, stream);
}

API cuMemsetD32Async(CUdeviceptr dst, unsigned value, size_t n, CUstream stream) {
	ENTER(NeedContext);
	return fill(ctx, dst, 4 * n, value, 4, n, 1, stream);
}

API cuMemsetD2D8Async(CUdeviceptr dst, size_t pitch, unsigned char value, size_t width, size_t height, CUstream stream) {
	ENTER(NeedContext);
	return fill(ctx, dst, pitch, value, 1, width, height, stream);
}

API cuMemsetD2D32Async(CUdeviceptr dst, size_t pitch, unsigned value, size_t width, size_t height, CUstream stream) {
	ENTER(NeedContext);
	return fill(ctx, dst, pitch, value, 4, width, height, stream);
}

// ---------------------------------------------------------------------------------------------------- streams, events

API cuStreamCreate(CUstream *out, unsigned) {
	ENTER(NeedContext);
	Stream *s = new Stream{ctx, {}, nullptr};
	ctx->streams.insert(s);
	*out = reinterpret_cast<CUstream>(s);
	return CUDA_SUCCESS;
}

// onStream finds a stream that no capture holds; a call on a captured one ends the capture.
static CUresult onStream(const char *name, Context *ctx, CUstream h, Stream *&s) {
	s = handle(ctx->streams, h);
	if (!s)
		return CUDA_ERROR_INVALID_HANDLE;
	if (s->capture) {
		complain("%s: not allowed on a stream that is captured", name);
		s->capture->invalid = true;
		return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	}
	return CUDA_SUCCESS;
}

API cuStreamDestroy(CUstream h) {
	ENTER(NeedContext);
	Stream *s;
	if (CUresult r = onStream(__func__, ctx, h, s))
		return r;
	drain(s);
	for (Event *e : ctx->events)
		if (e->stream == s)
			e->stream = nullptr;
	ctx->streams.erase(s);
	delete s;
	return CUresult(ctx->failed);
}

API cuStreamSynchronize(CUstream h) {
	ENTER(NeedContext);
	Stream *s;
	if (CUresult r = onStream(__func__, ctx, h, s))
		return r;
	drain(s);
	return CUresult(ctx->failed);
}

// A query lets one thing happen.
API cuStreamQuery(CUstream h) {
	ENTER(NeedContext);
	Stream *s;
	if (CUresult r = onStream(__func__, ctx, h, s))
		return r;
	if (!s->queue.empty())
		step(s);
	if (ctx->failed)
		return CUresult(ctx->failed);
	return s->queue.empty() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

API cuEventCreate(CUevent *out, unsigned) {
	ENTER(NeedContext);
	Event *e = new Event{ctx};
	ctx->events.insert(e);
	*out = reinterpret_cast<CUevent>(e);
	return CUDA_SUCCESS;
}

API cuEventDestroy(CUevent h) {
	ENTER(NeedContext);
	Event *e = handle(ctx->events, h);
	if (!e)
		return CUDA_ERROR_INVALID_HANDLE;
	ctx->events.erase(e);
	delete e;
	return CUDA_SUCCESS;
}

API cuEventRecord(CUevent h, CUstream stream) {
	ENTER(NeedContext);
	Event *e = handle(ctx->events, h);
	Stream *s = handle(ctx->streams, stream);
	if (!e || !s)
		return CUDA_ERROR_INVALID_HANDLE;
	e->capture = s->capture.get();
	if (e->capture)
		return CUDA_SUCCESS;
	e->stream = s;
	Op op;
	op.record = e->mark;
	op.version = ++e->mark->asked;
	push(s, std::move(op));
	return CUresult(ctx->failed);
}

API cuStreamWaitEvent(CUstream stream, CUevent h, unsigned) {
	ENTER(NeedContext);
	Event *e = handle(ctx->events, h);
	Stream *s = handle(ctx->streams, stream);
	if (!e || !s)
		return CUDA_ERROR_INVALID_HANDLE;
	if (e->capture != s->capture.get()) { // captured work and other work must not wait for each other
		if (s->capture)
			s->capture->invalid = true;
		complain("cuStreamWaitEvent: event and stream are not in the same capture");
		return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
	}
	if (s->capture || e->mark->done >= e->mark->asked)
		return CUDA_SUCCESS;
	Op op;
	op.wait = e->mark;
	op.version = e->mark->asked;
	op.stream = e->stream;
	push(s, std::move(op));
	return CUresult(ctx->failed);
}

API cuEventQuery(CUevent h) {
	ENTER(NeedContext);
	Event *e = handle(ctx->events, h);
	if (!e)
		return CUDA_ERROR_INVALID_HANDLE;
	if (e->capture)
		return CUDA_ERROR_CAPTURED_EVENT;
	if (e->mark->done < e->mark->asked)
		step(e->stream);
	if (ctx->failed)
		return CUresult(ctx->failed);
	return e->mark->done < e->mark->asked ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}

API cuEventSynchronize(CUevent h) {
	ENTER(NeedContext);
	Event *e = handle(ctx->events, h);
	if (!e)
		return CUDA_ERROR_INVALID_HANDLE;
	if (e->capture)
		return CUDA_ERROR_CAPTURED_EVENT;
	Open open;
	while (e->mark->done < e->mark->asked)
		step(e->stream);
	return CUresult(ctx->failed);
}

API cuEventElapsedTime(float *ms, CUevent from, CUevent to) {
	ENTER(NeedContext);
	Event *a = handle(ctx->events, from), *b = handle(ctx->events, to);
	if (!a || !b || !a->mark->asked || !b->mark->asked)
		return CUDA_ERROR_INVALID_HANDLE;
	if (a->mark->done < a->mark->asked || b->mark->done < b->mark->asked)
		return CUDA_ERROR_NOT_READY;
	*ms = float(b->mark->when - a->mark->when);
	return CUDA_SUCCESS;
}

// ---------------------------------------------------------------------------------------------------- graphs

API cuStreamBeginCapture(CUstream h, CUstreamCaptureMode) {
	ENTER(NotInCapture);
	Stream *s = handle(ctx->streams, h);
	if (!s)
		return CUDA_ERROR_INVALID_HANDLE;
	if (s->capture)
		return CUDA_ERROR_ILLEGAL_STATE;
	s->capture = capturing = std::make_shared<Capture>();
	s->capture->origin = s;
	return CUDA_SUCCESS;
}

API cuStreamEndCapture(CUstream h, CUgraph *out) {
	ENTER(NeedContext);
	*out = nullptr;
	Stream *s = handle(ctx->streams, h);
	if (!s)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!s->capture)
		return CUDA_ERROR_ILLEGAL_STATE;
	if (s->capture != capturing)
		return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
	std::shared_ptr<Capture> c = std::move(s->capture);
	s->capture = nullptr;
	capturing = nullptr;
	for (Event *e : ctx->events)
		if (e->capture == c.get()) { // as if never recorded
			e->capture = nullptr;
			e->mark = std::make_shared<Mark>();
		}
	if (c->invalid)
		return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	Graph *g = new Graph{ctx, std::move(c->work)};
	ctx->graphs.insert(g);
	*out = reinterpret_cast<CUgraph>(g);
	return CUDA_SUCCESS;
}

API cuGraphGetNodes(CUgraph h, CUgraphNode *nodes, size_t *count) {
	ENTER(NeedContext);
	Graph *g = handle(ctx->graphs, h);
	if (!g)
		return CUDA_ERROR_INVALID_HANDLE;
	if (nodes)
		return CUDA_ERROR_NOT_SUPPORTED;
	*count = g->work.size();
	return CUDA_SUCCESS;
}

API cuGraphInstantiateWithFlags(CUgraphExec *out, CUgraph h, unsigned long long) {
	ENTER(NeedContext);
	Graph *g = handle(ctx->graphs, h);
	if (!g)
		return CUDA_ERROR_INVALID_HANDLE;
	GraphExec *x = new GraphExec{ctx, std::make_shared<const std::vector<Work>>(g->work)};
	ctx->execs.insert(x);
	*out = reinterpret_cast<CUgraphExec>(x);
	return CUDA_SUCCESS;
}

API cuGraphLaunch(CUgraphExec h, CUstream stream) {
	ENTER(NeedContext);
	GraphExec *x = handle(ctx->execs, h);
	if (!x)
		return CUDA_ERROR_INVALID_HANDLE;
	return queue(ctx, stream, [ctx, work = x->work] {
		for (const Work &w : *work)
			if (!ctx->failed)
				w();
	});
}

API cuGraphDestroy(CUgraph h) {
	ENTER(NeedContext);
	Graph *g = handle(ctx->graphs, h);
	if (!g)
		return CUDA_ERROR_INVALID_HANDLE;
	ctx->graphs.erase(g);
	delete g;
	return CUDA_SUCCESS;
}

API cuGraphExecDestroy(CUgraphExec h) {
	ENTER(NeedContext);
	GraphExec *x = handle(ctx->execs, h);
	if (!x)
		return CUDA_ERROR_INVALID_HANDLE;
	ctx->execs.erase(x);
	delete x;
	return CUDA_SUCCESS;
}
