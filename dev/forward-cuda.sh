#!/usr/bin/env bash
# forward-cuda.sh: the driver without linking to it.
#
#   symbols OBJECT…     names of the CUDA driver that Go archives or objects call and do not define, one a line
#   forward LIST        C source of libcuda.a: every name of LIST jumps through a table, which the first call fills
#   stubs LIST DRIVER   C source of what the stand-in driver DRIVER (an object) does not define itself
#
# gorgonia.org/cu calls cuInit before main and ends the process where that fails. The archive's cuInit only says yes. The
# first other call opens libcuda.so.1 and calls the real cuInit, once. Where that fails there are no devices, every entry
# returns CUDA_ERROR_NO_DEVICE, and ict_driver_problem tells why.
set -euo pipefail

symbols() {
	nm -A "$@" 2>/dev/null | awk '$NF ~ /^cu[A-Z]/ { if ($(NF-1) == "U") used[$NF]; else own[$NF] }
		END { for (s in used) if (!(s in own)) print s }' | LC_ALL=C sort
}

forward() {
	local list
	list=$(grep -vx cuInit "$1")
	cat <<-'C'
	// Made by dev/forward-cuda.sh.
	#ifndef __x86_64__
	#error "the forwarding archive is written for x86-64"
	#endif
	#include <dlfcn.h>
	#include <pthread.h>
	#include <stdio.h>
	#include <string.h>

	#define HIDDEN __attribute__((visibility("hidden"), used))

	enum { NO_DEVICE = 100, NOT_SUPPORTED = 801 }; // CUresult

	HIDDEN int cuInit(unsigned flags) { return 0; }

	static int no_device(void) { return NO_DEVICE; }
	static int no_devices(int *count) { *count = 0; return 0; }
	static int not_in_this_driver(void) { return NOT_SUPPORTED; }

	static const char *const names[] = {
	C
	sed 's/.*/\t"&",/' <<<"$list"
	cat <<-'C'
	};
	enum { COUNT = sizeof names / sizeof *names };
	extern void *ict_driver_entries[COUNT] __attribute__((visibility("hidden")));

	static pthread_once_t once = PTHREAD_ONCE_INIT;
	static int problem;
	static char reason[512];

	static void open_driver(void) {
		void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
		if (!driver) {
			problem = NO_DEVICE;
			snprintf(reason, sizeof reason, "%s", dlerror());
		} else {
			int (*init)(unsigned) = (int (*)(unsigned))dlsym(driver, "cuInit");
			int (*text)(int, const char **) = (int (*)(int, const char **))dlsym(driver, "cuGetErrorString");
			const char *says = 0;
			problem = init ? init(0) : NOT_SUPPORTED;
			if (problem && text)
				text(problem, &says);
			if (problem)
				snprintf(reason, sizeof reason, "cuInit: %s (code %d)", says ? says : "no text", problem);
		}
		for (int i = 0; i < COUNT; i++) {
			void *entry;
			if (problem)
				entry = strcmp(names[i], "cuDeviceGetCount") ? (void *)no_device : (void *)no_devices;
			else
				entry = dlsym(driver, names[i]);
			ict_driver_entries[i] = entry ? entry : (void *)not_in_this_driver;
		}
	}

	HIDDEN void ict_driver_open(void) { pthread_once(&once, open_driver); }

	// Why there is no driver, and its code; null where there is one.
	HIDDEN const char *ict_driver_problem(int *code) {
		ict_driver_open();
		*code = problem;
		return problem ? reason : 0;
	}

	// An entry leaves its number in r11 and jumps; until the table is filled, to ict_driver_first, which keeps the arguments.
	__asm__(
		".pushsection .text\n.hidden ict_driver_first\n.globl ict_driver_first\n.type ict_driver_first,@function\nict_driver_first:\n"
		"push %rbp\nmov %rsp,%rbp\nsub $192,%rsp\n"
		"mov %rdi,(%rsp)\nmov %rsi,8(%rsp)\nmov %rdx,16(%rsp)\nmov %rcx,24(%rsp)\nmov %r8,32(%rsp)\nmov %r9,40(%rsp)\nmov %r11,48(%rsp)\n"
		"movups %xmm0,64(%rsp)\nmovups %xmm1,80(%rsp)\nmovups %xmm2,96(%rsp)\nmovups %xmm3,112(%rsp)\n"
		"call ict_driver_open\n"
		"mov (%rsp),%rdi\nmov 8(%rsp),%rsi\nmov 16(%rsp),%rdx\nmov 24(%rsp),%rcx\nmov 32(%rsp),%r8\nmov 40(%rsp),%r9\nmov 48(%rsp),%r11\n"
		"movups 64(%rsp),%xmm0\nmovups 80(%rsp),%xmm1\nmovups 96(%rsp),%xmm2\nmovups 112(%rsp),%xmm3\n"
		"leave\nlea ict_driver_entries(%rip),%rax\njmp *(%rax,%r11,8)\n"
	C
	awk '{ printf "\t\".globl %s\\n.hidden %s\\n.type %s,@function\\n%s:\\nmov $%d,%%r11d\\njmp *ict_driver_entries+%d(%%rip)\\n\"\n", $1, $1, $1, $1, NR-1, 8*(NR-1) }' <<<"$list"
	cat <<-C
		".popsection\n.pushsection .data\n.balign 8\n.globl ict_driver_entries\n.hidden ict_driver_entries\nict_driver_entries:\n.rept $(wc -l <<<"$list")\n.quad ict_driver_first\n.endr\n.popsection\n");
	C
}

stubs() {
	local list=$1 driver=$2
	printf '// Made by dev/forward-cuda.sh.\nint ict_sim_unsupported(const char *name);\n'
	nm --defined-only "$driver" | awk 'NR == FNR { own[$NF]; next }
		!($1 in own) { printf "__attribute__((visibility(\"default\"))) int %s(void) { return ict_sim_unsupported(\"%s\"); }\n", $1, $1 }' - "$list"
}

case ${1-} in
symbols | forward | stubs) "$@" ;;
*) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
