# dev/build.mk: what is carried to a machine with a GPU, and tools that look at the code. Included by the Makefile after gpu/build.mk.
#
#   build/gpu-check       ict-cuda and the tests of gpu with the kernels linked in, OpenBLAS, parity files, run.sh
#   build/bin             tools of exactly these versions

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

.PHONY: staticcheck vuln gpu-check gpu-check-pack gpu-check-sim build/gpu-check/gpu.test
build/gpu-check/gpu.test: build/cuda/libictkernels.a build/cuda/libcuda.a
	@mkdir -p build/gpu-check
	@rm -f $@
	$(call gpu_env,build/cuda) $(GO) test -c -tags cuda -o $@ -ldflags "$(GPU_LDFLAGS) -extldflags '$(GPU_STATIC)'" ./gpu
	@! nm -u $@ | grep -E ' (ict_|cu[A-Z])'

gpu-check-pack: build/ict-cuda build/gpu-check/gpu.test blas ## build/gpu-check: to be carried to a machine with a GPU and run there by run.sh; needs the driver alone
	@mkdir -p build/gpu-check/lib build/gpu-check/parity
	cp build/ict-cuda build/gpu-check/ict
	cp -R build/lib/. build/gpu-check/lib/
	cp internal/parity/testdata/*.safetensors build/gpu-check/parity/
	cp dev/gpu-check.sh build/gpu-check/run.sh
	@du -sh build/gpu-check

gpu-check: gpu-check-pack ## the same where there is a GPU, Go and nvcc: doctor, kernels, parity, sanitizers, training, speed into one folder
	build/gpu-check/run.sh

gpu-check-sim: build/sim/ict build/sim/gpu.test ## a dry run of gpu-check on the simulator: what it proves is that the script works; STEPS= picks some
	LD_LIBRARY_PATH=$(CURDIR)/build/sim ICT=build/sim/ict GPU_TEST=build/sim/gpu.test PARITY=internal/parity/testdata \
		dev/gpu-check.sh -o build/gpu-check-sim/$(shell date -u +%Y-%m-%dT%H%M%SZ) $(STEPS)

staticcheck: build/sim/libcuda.a ## code that is wrong or dead, with both tags
	GOBIN=$(CURDIR)/build/bin $(GO) install $(STATICCHECK)
	build/bin/staticcheck ./...
	$(call gpu_env,build/sim) build/bin/staticcheck -tags cuda ./gpu ./cmd/ict

vuln: ## known vulnerabilities that the program can reach; asks a database in the network, says so if there is none
	GOBIN=$(CURDIR)/build/bin $(GO) install $(GOVULNCHECK)
	build/bin/govulncheck ./... || { test $$? -ne 3 && echo "vuln: NOT CHECKED: the database could not be asked" >&2; }
