// selftest.cpp: the SIMT shim against plain loops, and its reports of broken kernels. Prints what fails; exit status 1.
// With an argument it runs one broken kernel, which must end the process with a report (see reports).
#include "../philox.cuh"
#include "../reduce.cuh"
#include "../vec.cuh"
#include "sim.h"

#include <immintrin.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

using namespace ict;

namespace {

int failures;
void check(bool ok, const char *what) {
	if (ok) return;
	failures++;
	std::fprintf(stderr, "selftest: %s\n", what);
}

const ict_exec ex = {nullptr, 90, 132, ICT_MATH_TENSOR, 0, nullptr, nullptr};
const char *timing = std::getenv("ICT_SIM_TIMING");
const bool early = timing && std::string(timing) == "early";

// ---- warps

void shuffle_kernel(int *xor_sum, int *down, double *up, unsigned *votes) {
	int i = int(blockIdx.x * blockDim.x + threadIdx.x);
	xor_sum[i] = warp_sum(i);
	down[i] = shuffle_down(full_mask, i, 3);
	up[i] = shuffle_up(full_mask, i + 0.5, 1);
	if (lane() < 7) votes[i] = ballot(0x7f, lane() % 2 == 0); // two groups of one warp at once
	else votes[i] = ballot(~0x7fu, lane() == 31);
	sync_warp();
}

void test_warps() {
	const int n = 4 * 96;
	std::vector<int> sums(n), down(n);
	std::vector<double> up(n);
	std::vector<unsigned> votes(n);
	check(launch(shuffle_kernel, 4, 96, 0, &ex, sums.data(), down.data(), up.data(), votes.data()) == 0, "launch");
	for (int i = 0; i < n; i++) {
		int l = i % 32, first = i - l;
		check(sums[i] == 32 * first + 31 * 16, "warp_sum");
		check(down[i] == (l + 3 < 32 ? i + 3 : i), "shuffle_down");
		check(up[i] == (l > 0 ? i - 1 : i) + 0.5, "shuffle_up of 8 bytes");
		check(votes[i] == (l < 7 ? 0x55u : 0x80000000u), "ballot of part of a warp");
	}
}

// ---- barriers

struct Numbers {
	float v[256];
	double sums[8];
};

void reverse_kernel(float *out, double *total, bool *poisoned) {
	Numbers &s = shared<Numbers>();
	int t = threadIdx.x;
	if (!(s.v[t] != s.v[t])) *poisoned = false; // fresh shared memory is NaN
	sync_block();
	s.v[t] = float(t + 1000 * blockIdx.x);
	sync_block();
	out[blockIdx.x * 256 + t] = s.v[255 - t];
	double sum = block_sum<256>(double(t), s.sums);
	if (t == 7) total[blockIdx.x] = sum;
}

// Warps 0 to 3 write what warps 4 to 7 read: the readers wait, the writers do not.
void roles_kernel(float *out) {
	Numbers &s = shared<Numbers>();
	int t = threadIdx.x;
	for (int round = 0; round < 3; round++) {
		if (t < 128) {
			if (round > 0) sync_named(2, 256); // for the readers of the last round
			s.v[t] = float(round * 1000 + t);
			arrive_named(1, 256);
		} else {
			sync_named(1, 256); // for this round's writers
			out[round * 128 + t - 128] = s.v[255 - t];
			if (round < 2) arrive_named(2, 256);
		}
	}
}

void test_barriers() {
	std::vector<float> out(5 * 256);
	std::vector<double> total(5);
	bool poisoned = true;
	check(launch(reverse_kernel, 5, 256, sizeof(Numbers), &ex, out.data(), total.data(), &poisoned) == 0, "launch");
	for (int i = 0; i < 5 * 256; i++) check(out[i] == float(255 - i % 256 + i / 256 * 1000), "sync_block");
	for (double t : total) check(t == 255 * 128, "block_sum");
	check(poisoned, "shared memory was not poisoned");
	check(launch(roles_kernel, 1, 256, sizeof(Numbers), &ex, out.data()) == 0, "launch");
	for (int i = 0; i < 3 * 128; i++) check(out[i] == float(i / 128 * 1000 + 127 - i % 128), "named barriers");
}

// ---- asynchronous copies

struct Stages {
	alignas(16) float v[2][128];
};

void pipeline_kernel(float *out, const float *in, float *before, int stages) {
	Stages &s = shared<Stages>();
	int t = threadIdx.x; // 32 threads move 16 bytes each
	copy_async16(&s.v[0][4 * t], in + 4 * t);
	before[t] = s.v[0][4 * t];
	copy_commit();
	for (int i = 0; i < stages; i++) {
		bool more = i + 1 < stages;
		copy_async16(&s.v[(i + 1) % 2][4 * t], in + (i + 1) * 128 + 4 * t, more);
		copy_commit();
		copy_wait<1>();
		sync_block(); // for every thread's part of stage i
		for (int j = 0; j < 4; j++) out[i * 128 + 4 * t + j] = s.v[i % 2][127 - 4 * t - j];
		sync_block(); // for every reader, before the next copy into this stage
	}
	copy_wait<0>();
	sync_block();
	out[stages * 128 + t] = s.v[stages % 2][t]; // the copy that was not valid: zeros
}

void test_copies() {
	const int stages = 5;
	std::vector<float> room(stages * 128 + 4), out(stages * 128 + 32), before(32);
	float *in = room.data();
	while (reinterpret_cast<uintptr_t>(in) % 16 != 0) in++;
	for (int i = 0; i < stages * 128; i++) in[i] = float(i);
	check(launch(pipeline_kernel, 1, 32, sizeof(Stages), &ex, out.data(), in, before.data(), stages) == 0, "launch");
	for (int i = 0; i < stages * 128; i++) check(out[i] == float(i / 128 * 128 + 127 - i % 128), "copy_async16");
	for (int i = 0; i < 32; i++) {
		check(out[stages * 128 + i] == 0, "copy_async16 of nothing");
		check(early ? before[i] == float(4 * i) : before[i] != before[i], "a pending destination must be NaN, an early one there");
	}
}

// ---- matrices

template <typename T> struct Tiles {
	alignas(16) T a[16][16]; // (m,k)
	alignas(16) T b[8][16];  // (n,k)
	alignas(16) T bt[16][8]; // (k,n)
};

template <typename T> void mma_kernel(float *d, const float *a, const float *b, bool transposed) {
	Tiles<T> &s = shared<Tiles<T>>();
	int l = lane();
	for (int i = l; i < 256; i += 32) s.a[i / 16][i % 16] = from_float<T>(a[i]);
	for (int i = l; i < 128; i += 32) s.bt[i / 8][i % 8] = s.b[i % 8][i / 8] = from_float<T>(b[i]);
	sync_warp();
	uint32_t fa[4], fb[2];
	load_matrix_x4(fa, &s.a[l % 16][l / 16 * 8]);
	if (transposed) load_matrix_x2_trans(fb, &s.bt[l % 16][0]);
	else load_matrix_x2(fb, &s.b[l % 8][l / 8 % 2 * 8]);
	int g = l / 4, t = 2 * (l % 4);
	float acc[4] = {d[g * 8 + t], d[g * 8 + t + 1], d[(g + 8) * 8 + t], d[(g + 8) * 8 + t + 1]};
	mma_m16n8k16<T>(acc, fa, fb);
	d[g * 8 + t] = acc[0];
	d[g * 8 + t + 1] = acc[1];
	d[(g + 8) * 8 + t] = acc[2];
	d[(g + 8) * 8 + t + 1] = acc[3];
}

void mma_tf32_kernel(float *d, const float *a, const float *b) { // a (16,8), b (8,8)
	int l = lane(), g = l / 4, t = l % 4;
	uint32_t fa[4] = {to_tf32(a[g * 8 + t]), to_tf32(a[(g + 8) * 8 + t]), to_tf32(a[g * 8 + t + 4]), to_tf32(a[(g + 8) * 8 + t + 4])};
	uint32_t fb[2] = {to_tf32(b[t * 8 + g]), to_tf32(b[(t + 4) * 8 + g])};
	float acc[4] = {};
	mma_m16n8k8_tf32(acc, fa, fb);
	for (int j = 0; j < 4; j++) d[(g + 8 * (j / 2)) * 8 + 2 * t + j % 2] = acc[j];
}

void test_matrices() {
	float a[256], b[128], d[128], want[128];
	uint32_t seed = 1;
	auto number = [&] { return float((seed = seed * 1664525u + 1013904223u) >> 29) - 3; };
	for (int type = 0; type < 5; type++) {
		for (float &x : a) x = number();
		for (float &x : b) x = number();
		for (float &x : d) x = number();
		const int K = type == 4 ? 8 : 16;
		for (int m = 0; m < 16; m++)
			for (int n = 0; n < 8; n++) {
				want[m * 8 + n] = type == 4 ? 0 : d[m * 8 + n];
				for (int k = 0; k < K; k++) want[m * 8 + n] += a[m * K + k] * b[k * 8 + n];
			}
		switch (type) {
		case 0: case 1: launch(mma_kernel<half>, 1, 32, sizeof(Tiles<half>), &ex, d, a, b, type == 1); break;
		case 2: case 3: launch(mma_kernel<bfloat16>, 1, 32, sizeof(Tiles<bfloat16>), &ex, d, a, b, type == 3); break;
		case 4: launch(mma_tf32_kernel, 1, 32, 0, &ex, d, a, b); break;
		}
		for (int i = 0; i < 128; i++) check(d[i] == want[i], "mma");
	}
}

// ---- numbers

void test_numbers() {
	for (uint32_t h = 0; h < 0x10000; h++) {
		float f = to_float(half{uint16_t(h)}), g = _cvtsh_ss(uint16_t(h));
		check(f != f ? g != g : float_bits(f) == float_bits(g), "half to float");
		if (f == f) check(from_float<half>(f).bits == h, "half there and back");
		float b = to_float(bfloat16{uint16_t(h)});
		if (b == b) check(from_float<bfloat16>(b).bits == h, "bfloat16 there and back");
	}
	uint32_t seed = 7;
	for (int i = 0; i < 300000; i++) {
		seed = seed * 1664525u + 1013904223u;
		uint32_t bits = i % 2 ? seed : 0x33000000 + seed % 0x15000000; // everything; the range of half and a little more
		float f = bits_float(bits);
		if (f == f) check(from_float<half>(f).bits == _cvtss_sh(f, 0), "float to half");
	}
	check(from_float<half>(65519.0f).bits == 0x7bff && from_float<half>(65520.0f).bits == 0x7c00, "the largest half");
	check(from_float<half>(0x1p-25f).bits == 0 && from_float<half>(0x1.8p-24f).bits == 2, "ties of subnormals");
	check(from_float<bfloat16>(1.00390625f).bits == 0x3f80 && from_float<bfloat16>(1.01171875f).bits == 0x3f82, "ties of bfloat16");
	check(from_float<bfloat16>(3.4e38f).bits == 0x7f80, "bfloat16 overflows to infinity");
	check(float_bits(bits_float(to_tf32(1.00048828125f))) == float_bits(1.0009765625f), "tf32 ties go away from zero");
}

void philox_kernel(uint32_t *w) {
	uint32_t words[4];
	philox_words(Stream{0, 0, 0, 0, 0}, 0, words);
	for (int i = 0; i < 4; i++) w[i] = words[i];
	philox_words(Stream{0xa4093822, 0x299f31d0, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x243f6a88, words);
	for (int i = 0; i < 4; i++) w[4 + i] = words[i];
}

void test_philox() { // the known answers published with [Philox]
	const uint32_t want[8] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8, 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
	uint32_t got[8];
	launch(philox_kernel, 1, 1, 0, &ex, got);
	for (int i = 0; i < 8; i++) check(got[i] == want[i], "philox");
}

// ---- launches

int queued;
std::vector<std::function<void()>> queue;

void count_kernel(uint64_t *n, dim3 want) {
	if (gridDim.x == want.x && blockDim.y == want.y) atomic_add(n, uint64_t(1));
}

void test_launches() {
	uint64_t n = 0;
	check(launch(count_kernel, dim3(3, 2), dim3(8, 4), 0, &ex, &n, dim3(3, 4)) == 0 && n == 3 * 2 * 32, "every thread of a grid runs once");
	check(launch(count_kernel, 1, 1025, 0, &ex, &n, dim3()) != 0, "too many threads");
	check(launch(count_kernel, 0, 32, 0, &ex, &n, dim3()) != 0, "an empty grid");
	check(launch(count_kernel, 1, 32, 228 << 10, &ex, &n, dim3()) != 0, "too much shared memory");
	ict_sim_attach([](ict_stream, std::function<void()> work) {
		queue.push_back(std::move(work));
		return queued++ ? 900 : 0;
	});
	n = 0;
	check(launch(count_kernel, 2, 32, 0, &ex, &n, dim3(2, 1)) == 0 && n == 0, "a driver decides when a launch runs");
	check(launch(count_kernel, 2, 32, 0, &ex, &n, dim3(2, 1)) == 900, "a driver's status is the launch's");
	queue[0]();
	queue[0]();
	check(n == 2 * 64, "a launch may run again");
	ict_sim_attach(nullptr);
}

// ---- reports

void half_a_barrier_kernel() {
	if (threadIdx.x < 32) sync_block();
}
void two_collectives_kernel() {
	if (lane() < 16) ballot(full_mask, true);
	else shuffle(full_mask, 1, 0);
}
void two_masks_kernel() { ballot(lane() < 16 ? full_mask : 0xffff0000u, true); }
void overrun_kernel() {
	Numbers &s = shared<Numbers>();
	volatile float *v = s.v;
	v[sizeof(Numbers) / 4 + threadIdx.x] = 1;
}
void small_kernel() { shared<Numbers>().v[0] = 1; }
void changed_source_kernel(float *in) {
	Stages &s = shared<Stages>();
	copy_async16(s.v[0], in);
	copy_commit();
	in[0] = 5;
	copy_wait<0>();
}
void misaligned_kernel(float *in) { load16(in + 1); }
void check_kernel() { ICT_CHECK_DEVICE(threadIdx.x < 3); }

struct Report {
	const char *name, *says;
	bool late_only;
};
const Report reports[] = {
	{"barrier", "deadlock in block (0,0,0)", false}, {"collectives", "disagree on a collective", false},
	{"masks", "deadlock in block (0,0,0)", false},
	{"overrun", "beside its shared memory|AddressSanitizer", false}, {"small", "less shared memory", false},
	{"source", "source of a pending copy changed", true}, {"misaligned", "misaligned vector access", false},
	{"check", "check failed: threadIdx.x < 3", false},
};

int broken(const std::string &name) {
	alignas(16) static float in[16];
	if (name == "barrier") launch(half_a_barrier_kernel, 1, 64, 0, &ex);
	if (name == "collectives") launch(two_collectives_kernel, 1, 32, 0, &ex);
	if (name == "masks") launch(two_masks_kernel, 1, 32, 0, &ex);
	if (name == "overrun") launch(overrun_kernel, 1, 32, sizeof(Numbers), &ex);
	if (name == "small") launch(small_kernel, 1, 32, 16, &ex);
	if (name == "source") launch(changed_source_kernel, 1, 1, sizeof(Stages), &ex, in);
	if (name == "misaligned") launch(misaligned_kernel, 1, 1, 0, &ex, in);
	if (name == "check") launch(check_kernel, 1, 32, 0, &ex);
	return 0;
}

void test_reports(const char *program) {
	for (const Report &r : reports) {
		if (r.late_only && early) continue; // an early copy is over before its source changes
		std::FILE *p = popen((std::string(program) + " " + r.name + " 2>&1").c_str(), "r");
		std::string text;
		char buffer[4096];
		while (size_t n = std::fread(buffer, 1, sizeof buffer, p)) text.append(buffer, n);
		int status = pclose(p);
		std::string says = r.says, other;
		if (size_t bar = says.find('|'); bar != std::string::npos) {
			other = says.substr(bar + 1);
			says.resize(bar);
		}
		bool said = text.find(says) != std::string::npos || (!other.empty() && text.find(other) != std::string::npos);
		check(status != 0 && said, (std::string("no report of: ") + r.name + ": " + text).c_str());
		if (std::string(r.name) == "barrier") check(text.find("selftest.cpp:") != std::string::npos && text.find("threads 0 to 31: sync_block") != std::string::npos && text.find("threads 32 to 63: returned") != std::string::npos, "the deadlock report names places");
	}
}

} // namespace

int main(int argc, char **argv) {
	if (argc > 1) return broken(argv[1]);
	test_warps();
	test_barriers();
	test_copies();
	test_matrices();
	test_numbers();
	test_philox();
	test_launches();
	test_reports(argv[0]);
	if (failures == 0) std::printf("simt: ok (%s)\n", early ? "early" : "late");
	return failures != 0;
}
