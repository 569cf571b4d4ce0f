# kernels/build.mk: the kernel library, for GPUs and for the simulator. Included by the Makefile.
#
#   build/cuda/libictkernels.a     nvcc: sm_80, sm_90a, PTX of compute_80
#   build/resources.tsv            registers, spills, shared memory, resident blocks, inner loop of every kernel (dev/resources.py)
#   build/sim/libictkernels.so     the same sources, g++ and the SIMT shim
#   build/sim-asan/libictkernels.so   with AddressSanitizer
#   sim-selftest                   the shim against itself
#
# KERNELS_SHA is the hash of kernels/, compiled into the library and handed to Go by -ldflags -X ict/gpu.kernelsSHA=.

KERNELS_CU := $(sort $(wildcard kernels/*.cu))
KERNELS_FILES := $(KERNELS_CU) $(sort $(wildcard kernels/*.h kernels/*.cuh kernels/sim/*.h kernels/sim/simt.cpp))
KERNELS_SHA := $(shell cat $(KERNELS_FILES) | sha256sum | cut -c1-16)
# Machine code beside sm_80, sm_90a and PTX: CUDA_ARCHS="120 100".
CUDA_ARCHS ?=
NVCC ?= $(shell command -v nvcc || echo build/cuda/toolkit/bin/nvcc)
NVCC_FLAGS := -std=c++17 -O3 -lineinfo -Xptxas -v,--warn-on-spills -Xcompiler -fPIC -cudart static
NVCC_TARGETS := -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a -gencode arch=compute_80,code=compute_80 \
	$(foreach a,$(CUDA_ARCHS),-gencode arch=compute_$(a),code=sm_$(a))
NVCC_SM90 := -gencode arch=compute_90a,code=sm_90a
SIM_CXX ?= g++
# x86-64-v3: fused multiply-add in hardware; ffp-contract=off: only where a kernel says fma.
SIM_FLAGS := -std=c++17 -O2 -g1 -march=x86-64-v3 -ffp-contract=off -fPIC -Wall -Wextra -Wno-unknown-pragmas -DICT_SIM
SIM_ASAN := -fsanitize=address -fno-omit-frame-pointer
KERNELS_COMPILE := kernels/compile.sh
, := ,

kernels_sha_flag = $(if $(filter library,$*),-DICT_KERNELS_SHA='"$(KERNELS_SHA)"')
kernels_archs = -DICT_KERNELS_ARCHS='"$(strip $(1))"'

# The hash as a file, so that library.o follows every change.
build/kernels.sha: $(KERNELS_FILES) kernels/build.mk
	@mkdir -p build && echo $(KERNELS_SHA) >$@

build/cuda/toolkit/bin/nvcc:
	dev/fetch-nvcc.sh build/cuda/toolkit

build/cuda/%.o build/cuda/%.log: kernels/%.cu build/kernels.sha $(KERNELS_COMPILE) | $(filter build/%,$(NVCC))
	@mkdir -p build/cuda
	@$(KERNELS_COMPILE) build/cuda/$*.o build/cuda/$*.log $< $(NVCC) $(NVCC_FLAGS) $(if $(filter %_sm90,$*),$(NVCC_SM90),$(NVCC_TARGETS)) \
		$(kernels_sha_flag) $(if $(filter library,$*),$(call kernels_archs,80 90a $(CUDA_ARCHS) ptx80))

build/cuda/libictkernels.a: $(KERNELS_CU:kernels/%.cu=build/cuda/%.o)
	@rm -f $@
	ar rcs $@ $^

# PTX alone, not optimised: its names tell dev/resources.py the shared memory and the block of each kernel.
build/cuda/names/%.o: kernels/%.cu build/kernels.sha $(KERNELS_COMPILE) | $(filter build/%,$(NVCC))
	@mkdir -p build/cuda/names
	@$(KERNELS_COMPILE) $@ build/cuda/names/$*.log $< $(NVCC) -std=c++17 -Xcicc -O0 -DICT_SHARED_NAMES \
		-gencode $(if $(filter %_sm90,$*),arch=compute_90a$(,)code=compute_90a,arch=compute_80$(,)code=compute_80)

KERNELS_WITH_CODE := $(filter-out library,$(KERNELS_CU:kernels/%.cu=%))
build/resources.tsv: $(KERNELS_WITH_CODE:%=build/cuda/%.o) $(KERNELS_WITH_CODE:%=build/cuda/names/%.o) dev/resources.py
	dev/resources.py table $(dir $(NVCC))cuobjdump build/cuda/names $(KERNELS_WITH_CODE:%=build/cuda/%.o) >$@.tmp
	@mv $@.tmp $@

RESOURCES = dev/resources/cuda-$(shell $(NVCC) --version | sed -n 's/.*release \([0-9.]*\),.*/\1/p').tsv

# $(1): build/sim or build/sim-asan; $(2): more flags. Files of sm_90 alone are not for the simulator yet.
define kernels_sim
$(1)/%.o: kernels/%.cu build/kernels.sha $(KERNELS_COMPILE)
	@mkdir -p $(1)
	@$(KERNELS_COMPILE) $$@ $(1)/$$*.log $$< $(SIM_CXX) $(SIM_FLAGS) $(2) $$(kernels_sha_flag) $$(if $$(filter library,$$*),$$(call kernels_archs,sim)) -x c++

$(1)/simt.o: kernels/sim/simt.cpp build/kernels.sha $(KERNELS_COMPILE)
	@mkdir -p $(1)
	@$(KERNELS_COMPILE) $$@ $(1)/simt.log $$< $(SIM_CXX) $(SIM_FLAGS) $(2)

$(1)/libictkernels.so: $(1)/simt.o $(patsubst kernels/%.cu,$(1)/%.o,$(filter-out %_sm90.cu,$(KERNELS_CU)))
	$(SIM_CXX) -shared -pthread $(2) -o $$@ $$^

$(1)/selftest: kernels/sim/selftest.cpp $(1)/simt.o build/kernels.sha
	$(SIM_CXX) $(SIM_FLAGS) $(2) -pthread -o $$@ kernels/sim/selftest.cpp $(1)/simt.o
endef
$(eval $(call kernels_sim,build/sim,))
$(eval $(call kernels_sim,build/sim-asan,$(SIM_ASAN)))

.PHONY: sim-selftest kernels-cuda kernels-sim resources resources-update
kernels-cuda: build/cuda/libictkernels.a ## every kernel with nvcc; fails on spills
resources: build/resources.tsv ## what the machine code of each kernel takes, against the committed table; fails where it takes more
	dev/resources.py check $(RESOURCES) $<
resources-update: build/resources.tsv ## writes the committed table anew
	@mkdir -p dev/resources
	cp $< $(RESOURCES)
kernels-sim: build/sim/libictkernels.so build/sim-asan/libictkernels.so ## every kernel for the simulator
sim-selftest: build/sim/selftest build/sim-asan/selftest ## the simulator's SIMT shim: two seeds, both timings, with and without sanitizer
	@for t in late early; do for s in 0 7; do ICT_SIM_TIMING=$$t ICT_SIM_SEED=$$s build/sim/selftest || exit 1; done; done
	@build/sim-asan/selftest
