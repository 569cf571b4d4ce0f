# gpu/build.mk: Go with the tag cuda. Included by the Makefile after kernels/build.mk.
#
#   build/cuda/libcuda.a      the driver's entry points, forwarded to libcuda.so.1 at first use
#   build/ict-cuda            the program, kernels and CUDA runtime linked in; needs nothing but the driver
#   build/sim/libcuda.so.1    the stand-in driver (build/sim-asan: with AddressSanitizer)
#   build/sim/libnvidia-ml.so.1   a stand-in NVML
#   build/sim/ict             the program on the simulator; its libraries lie beside it
#   test-sim                  the tests of gpu on the simulator, both timings, and the scripts of cmd/ict/testdata/sim

CUDA_ROOT = $(abspath $(patsubst %/bin/nvcc,%,$(NVCC)))
CUDA_LIB = $(firstword $(wildcard $(CUDA_ROOT)/lib64 $(CUDA_ROOT)/lib))
GPU_TOOLKIT := $(filter build/%,$(NVCC)) # order only: fetched where none is installed
GPU_STATIC = -L$(CUDA_LIB) -lcudart_static -lrt -lpthread -ldl -Wl,-Bstatic -lstdc++ -Wl,-Bdynamic -static-libgcc
GPU_LDFLAGS = $(LDFLAGS) -X ict/gpu.kernelsSHA=$(KERNELS_SHA)
# The go command sees neither libraries nor headers outside a package: the hash of kernels.h makes it compile again, the
# hash of the kernels makes it link again. $(1) is the folder of the libraries; -O2 is what the go command would say.
gpu_env = CGO_ENABLED=1 CGO_LDFLAGS=-L$(CURDIR)/$(1) \
	CGO_CFLAGS='-O2 -I$(CURDIR)/gpu/cuda -I$(CUDA_ROOT)/include -DICT_KERNELS_HEADER=0x$(shell sha256sum <kernels/kernels.h | cut -c1-8)'

define gpu_driver
$(1)/libcuda.a $(1)/driver.symbols &: dev/forward-cuda.sh gpu/cuda/cuda.h kernels/kernels.h $(wildcard gpu/*.go) | $(GPU_TOOLKIT)
	@mkdir -p $(1)
	$$(call gpu_env,$(1)) $(GO) list -export -tags cuda -f '{{.Export}}' gorgonia.org/cu ./gpu >$(1)/driver.archives
	dev/forward-cuda.sh symbols $$$$(cat $(1)/driver.archives) >$(1)/driver.symbols
	dev/forward-cuda.sh forward $(1)/driver.symbols >$(1)/driver.c
	$(CC) -O2 -fPIC -c $(1)/driver.c -o $(1)/driver.o
	@rm -f $(1)/libcuda.a
	ar rcs $(1)/libcuda.a $(1)/driver.o
endef
$(foreach dir,build/cuda build/sim build/sim-asan,$(eval $(call gpu_driver,$(dir))))

# Everything that cu links against must be there, or it shows when it is first called.
define gpu_sim
$(1)/libcuda.so.1: kernels/sim/cuda.cpp kernels/sim/driver.hpp kernels/sim/sim.h $(1)/driver.symbols dev/forward-cuda.sh
	$(SIM_CXX) $(SIM_FLAGS) $(2) -fvisibility=hidden -I$$(CUDA_ROOT)/include -c kernels/sim/cuda.cpp -o $(1)/cuda-driver.o
	dev/forward-cuda.sh stubs $(1)/driver.symbols $(1)/cuda-driver.o >$(1)/cuda-stubs.c
	$(CC) -O2 -fPIC -c $(1)/cuda-stubs.c -o $(1)/cuda-stubs.o
	$(SIM_CXX) -shared -pthread $(2) -Wl,-soname,libcuda.so.1 -Wl,-Bsymbolic -o $$@ $(1)/cuda-driver.o $(1)/cuda-stubs.o -ldl
	@nm -D --defined-only $$@ | awk '{ print $$$$NF }' | LC_ALL=C sort | LC_ALL=C comm -23 $(1)/driver.symbols - | \
		{ ! grep . || { echo "the stand-in driver lacks these" >&2; rm -f $$@; exit 1; }; }
endef
$(eval $(call gpu_sim,build/sim,))
$(eval $(call gpu_sim,build/sim-asan,$(SIM_ASAN)))

build/sim/libnvidia-ml.so.1 build/sim-asan/libnvidia-ml.so.1: kernels/sim/nvml.c
	@mkdir -p $(@D)
	$(CC) -O2 -Wall -Wextra -fPIC -shared -fvisibility=hidden -Wl,-soname,libnvidia-ml.so.1 -o $@ $<
build/sim/ict build/sim/gpu.test: build/sim/libnvidia-ml.so.1
build/sim-asan/gpu.test: build/sim-asan/libnvidia-ml.so.1

# The tests of gpu as a program.
define gpu_tests
.PHONY: $(1)/gpu.test
$(1)/gpu.test: $(1)/libictkernels.so $(1)/libcuda.so.1 $(1)/libcuda.a
	$$(call gpu_env,$(1)) $$(GO) test -c $(2) -tags cuda -ldflags '$$(GPU_LDFLAGS)' -o $$@ ./gpu
endef
$(eval $(call gpu_tests,build/sim,))
$(eval $(call gpu_tests,build/sim-asan,-asan))

.PHONY: build/ict-cuda build/sim/ict test-sim test-sim-asan test-sim-full faults
build/ict-cuda: build/cuda/libictkernels.a build/cuda/libcuda.a
	@rm -f $@
	$(call gpu_env,build/cuda) $(GO) build -tags cuda -o $@ -ldflags \
		"$(GPU_LDFLAGS) -extldflags '$(GPU_STATIC)'" ./cmd/ict
	@! nm -u $@ | grep -E ' (ict_|cu[A-Z])'

build/sim/ict: build/sim/libictkernels.so build/sim/libcuda.so.1 build/sim/libcuda.a
	@rm -f $@
	$(call gpu_env,build/sim) $(GO) build -tags cuda -o $@ -ldflags "$(GPU_LDFLAGS) -extldflags '-Wl,-rpath,\$$ORIGIN'" ./cmd/ict

test-sim: build/sim/ict ## the CUDA backend, and the program with it, on the simulator
	@for t in 'late 0' 'early 1'; do set -- $$t; echo "timing $$1, seed $$2"; $(call gpu_env,build/sim) LD_LIBRARY_PATH=$(CURDIR)/build/sim \
		ICT_SIM_TIMING=$$1 ICT_SIM_SEED=$$2 $(GO) test -count=1 -timeout 20m -tags cuda -ldflags '$(GPU_LDFLAGS)' ./gpu || exit 1; done
	ICT_SIM=$(CURDIR)/build/sim/ict $(GO) test -count=1 -run TestSimulator ./cmd/ict

# Bounds of device memory show only where each tensor has memory of its own: ICT_APART. Left out: a test that leaves its memory
# on purpose, and those of whole trainings but one, which run the same kernels for minutes.
ASAN_SKIP := TestSimulatorGuardsMemory|TestOverflow|TestSeeds|TestSelfCheck|TestSM90|TestTraining$$|TestTrainingPoisoned
test-sim-asan: build/sim-asan/gpu.test ## the tests of gpu with AddressSanitizer in kernels, driver and Go
	cd gpu && LD_LIBRARY_PATH=$(CURDIR)/build/sim-asan ASAN_OPTIONS=detect_leaks=0 ICT_APART=1 ../build/sim-asan/gpu.test -test.short -test.skip '$(ASAN_SKIP)' -test.timeout 20m

test-sim-full: build/sim/ict build/sim/gpu.test ## test-sim with SEEDS= (default 1 2 3), for sm 90, approximations off by some ulp where the seed is odd
	@for s in $(or $(SEEDS),1 2 3); do for t in late early; do echo "seed $$s, timing $$t"; cd gpu && LD_LIBRARY_PATH=$(CURDIR)/build/sim ICT_SIM_SEED=$$s ICT_SIM_TIMING=$$t \
		ICT_SIM_NOISE=$$((s % 2)) ICT_SIM_SM=90 ../build/sim/gpu.test -test.timeout 30m || exit 1; cd ..; done; done

faults: ## plants faults in kernels and gpu, and demands that the simulator's tests notice each; writes dev/faults/TABLE.md
	dev/faults/run.sh
