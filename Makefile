# winnow. `make help` lists what can be made.
#
#   BUILD=build          where results go
#   ARCH=x86-64-v3       what g++ compiles for: AVX2 and FMA; ARCH=native for this machine alone
#   EXTRA_CXXFLAGS=      more flags for g++, e.g. -Werror
#   NVCC=no              builds without CUDA, as a machine without nvcc does
#   GPU_ARCHS="80 90"    what nvcc compiles for; with PTX of the last for what is newer

BUILD ?= build
ARCH ?= x86-64-v3
CXX := g++
SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

# All cores, unless the caller said otherwise.
ifeq (,$(filter -j%,$(MAKEFLAGS)))
MAKEFLAGS += -j$(shell nproc)
endif

# -Wno-restrict: g++ 12 sees overlapping copies in std::string where there are none.
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wno-restrict
CPPFLAGS += -I. -MMD -MP
CXXFLAGS := -std=c++20 -O3 -g1 -march=$(ARCH) -fopenmp $(WARNINGS) $(EXTRA_CXXFLAGS)
# PCRE2 and utf8proc are linked in: the program runs where they are not installed.
TEXT_LIBS := -lsentencepiece -l:libpcre2-8.a -l:libutf8proc.a
# So is libedit, for the lines that are typed in a chat, with what it needs.
EDIT_LIBS := -l:libedit.a -l:libtinfo.a -l:libbsd.a -l:libmd.a
# OpenMP's library is linked in, so that src/start_up.cpp comes before its constructor.
LDLIBS := $(TEXT_LIBS) $(EDIT_LIBS) -l:libgomp.a -ldl -lpthread $(EXTRA_LDLIBS)

# ---- CUDA: nvcc from the PATH, or else from the toolkit's usual place ----
NVCC ?= $(firstword $(shell command -v nvcc 2>/dev/null) $(wildcard /usr/local/cuda/bin/nvcc) no)
GPU_ARCHS ?= 80 90

comma := ,
empty :=
space := $(empty) $(empty)

ifneq (no,$(NVCC))
# The first toolkit with all the functions that are used is 12.5.
NVCC_RELEASE := $(shell $(NVCC) --version 2>/dev/null | sed -n 's/.*release \([0-9.]*\),.*/\1/p')
CUDA_NEW_ENOUGH := $(shell printf '%s\n' 12.5 '$(NVCC_RELEASE)' | sort -CV && echo yes)
# nvcc may be a link or a wrapper: it knows where its toolkit is.
CUDA_TOOLKIT := $(realpath $(shell $(NVCC) --dryrun -x cu /dev/null 2>&1 | sed -n 's/.* TOP=//p'))
CUDA_LIB := $(firstword $(wildcard $(CUDA_TOOLKIT)/lib64 $(CUDA_TOOLKIT)/targets/x86_64-linux/lib))
endif

ifneq (yes,$(CUDA_NEW_ENOUGH))
CUDA_SRCS := cuda/no_cuda.cpp
BUILT_FOR := for the CPU alone
CUDA_WORDS := $(BUILT_FOR): $(if $(filter no,$(NVCC)),no nvcc in PATH or /usr/local/cuda/bin,$(NVCC) is of CUDA $(NVCC_RELEASE)$(comma) 12.5 is needed)
else
CUDA_SRCS := $(filter-out cuda/no_cuda.cpp,$(wildcard cuda/*.cpp)) $(wildcard cuda/*.cu)
CUDA_TEST_SRCS := $(wildcard tests/gpu/*.cpp) $(wildcard tests/gpu/*.cu)
NEWEST_ARCH := $(lastword $(GPU_ARCHS))
GENCODE := $(foreach a,$(GPU_ARCHS),'-gencode=arch=compute_$(a)$(comma)code=[sm_$(a)$(if $(filter $(a),$(NEWEST_ARCH)),$(comma)compute_$(a))]')
NVCCFLAGS = -std=c++20 -O3 -lineinfo --expt-relaxed-constexpr $(GENCODE) \
             -Xcompiler $(subst $(space),$(comma),-g1 -march=$(ARCH) -fopenmp $(WARNINGS)) $(EXTRA_NVCCFLAGS)
# Kernels that are written for Hopper's own instructions.
%_sm90.o: GENCODE := '-gencode=arch=compute_90a$(comma)code=sm_90a'
BUILT_FOR := with CUDA $(NVCC_RELEASE) for sm_$(subst $(space),$(comma) sm_,$(strip $(GPU_ARCHS))) and newer
CUDA_WORDS := $(BUILT_FOR)
# The runtime is linked in; the driver and cuBLASLt are looked for when a GPU is used.
LDLIBS += -L$(CUDA_LIB) -lcudart_static -ldl -lrt -lpthread -Wl,-rpath,$(CUDA_LIB)
endif

HOST_DIRS := src src/base src/bench src/chat src/cli src/commands src/cpu src/eval src/kv src/watch weights tokenizer
MAIN_SRCS := src/main.cpp src/start_up.cpp
LIB_SRCS := $(filter-out $(MAIN_SRCS),$(wildcard $(HOST_DIRS:%=%/*.cpp)))
TEST_SRCS := $(wildcard tests/*.cpp)
SUPPORT_SRCS := $(wildcard tests/support/*.cpp)
CUDA_OBJS := $(patsubst %,$(BUILD)/%.o,$(basename $(CUDA_SRCS)))
LIB_OBJS := $(LIB_SRCS:%.cpp=$(BUILD)/%.o) $(CUDA_OBJS)
MAIN_OBJS := $(MAIN_SRCS:%.cpp=$(BUILD)/%.o)
TEST_OBJS := $(TEST_SRCS:%.cpp=$(BUILD)/%.o)
SUPPORT_OBJS := $(SUPPORT_SRCS:%.cpp=$(BUILD)/%.o)
CUDA_TEST_OBJS := $(patsubst %,$(BUILD)/%.o,$(basename $(CUDA_TEST_SRCS)))
DEPS := $(BUILD)/.deps

##@ Build and run
.PHONY: all run clean
all: $(BUILD)/winnow  ## the program: build/winnow (the default)

run: $(BUILD)/winnow  ## build, then write text with the bundled model
	tools/run_demo.sh $(BUILD)/winnow

clean:  ## remove everything that was built
	rm -rf build build-*

$(BUILD)/winnow: $(MAIN_OBJS) $(LIB_OBJS)
	$(CXX) -o $@ $^ $(LDLIBS)

$(BUILD)/%.o: %.cpp | $(DEPS)
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -c -o $@ $<

# C75xx: ptxas had to give up the overlap of tensor core instructions.
$(BUILD)/%.o: %.cu | $(DEPS)
	@mkdir -p $(@D)
	$(NVCC) -I. -MMD -MP -MF $(@:.o=.d) $(NVCCFLAGS) -c -o $@ $< 2> $@.log || { cat $@.log >&2; exit 1; }
	@cat $@.log >&2; if grep -q 'C75[0-9][0-9]' $@.log; then rm -f $@; exit 1; fi

# Host code of cuda/ sees the toolkit's headers, without their warnings.
$(CUDA_OBJS) $(CUDA_TEST_OBJS) $(BUILD)/tests/faults/cuda.o: CPPFLAGS += $(if $(CUDA_TOOLKIT),-isystem $(CUDA_TOOLKIT)/include)

# Said once for each answer, not at every make; another answer builds what nvcc builds anew.
$(BUILD)/.cuda-%:
	@mkdir -p $(@D) && rm -f $(BUILD)/.cuda-*
	@echo "building $(CUDA_WORDS)" && touch $@
CUDA_SAID := $(BUILD)/.cuda-$(subst $(space),-,$(subst /,_,$(strip $(NVCC) $(GPU_ARCHS))))
$(CUDA_OBJS) $(patsubst %.cu,$(BUILD)/%.o,$(filter %.cu,$(CUDA_TEST_SRCS))): $(CUDA_SAID)

# Tests are compiled more often than they are run.
$(TEST_OBJS) $(SUPPORT_OBJS) $(filter %.o,$(CUDA_TEST_OBJS)): CXXFLAGS += -O1

# winnow, with wrappers around what it asks the system for: see tests/faults/faults.h.
FAULT_SRCS := $(filter-out $(if $(CUDA_TEST_SRCS),,%/cuda.cpp),$(wildcard tests/faults/*.cpp))
FAULT_OBJS := $(FAULT_SRCS:%.cpp=$(BUILD)/%.o)
FAULT_CALLS = main malloc calloc realloc mmap mprotect posix_memalign read pread write pwrite open fsync rename \
  $(if $(CUDA_TEST_SRCS),$(CUDA_FAULT_CALLS))
CUDA_FAULT_CALLS := $(addprefix cuda,Malloc HostAlloc MemcpyAsync MemsetAsync StreamCreateWithFlags StreamSynchronize \
  StreamBeginCapture StreamEndCapture GraphInstantiate GraphLaunch EventCreateWithFlags EventRecord EventSynchronize \
  FuncSetAttribute LaunchKernelExC LaunchKernel GetLastError GetDriverEntryPointByVersion) __cudaLaunchKernel
$(BUILD)/tests/winnow_faulty: $(FAULT_OBJS) $(MAIN_OBJS) $(LIB_OBJS)
	$(CXX) -o $@ $^ $(FAULT_CALLS:%=-Wl,--wrap=%) $(LDLIBS)

# Draws are the same on every platform only if products and sums are rounded one by one.
$(BUILD)/src/sampler.o: CXXFLAGS += -ffp-contract=off

# Runs before anything else, and says so where the CPU is too old: it must not need AVX2 itself.
$(BUILD)/src/start_up.o: CXXFLAGS += -march=x86-64 $(if $(filter x86-64-v3,$(ARCH)),-DWINNOW_REQUIRE_AVX2)

# What is measured says which source it was built from. Another commit builds this one file anew.
ifndef COMMIT
COMMIT := $(or $(shell git describe --always --dirty --abbrev=12 2>/dev/null),unknown)
endif
COMMIT_STAMP := $(BUILD)/.commit-$(subst /,_,$(COMMIT))
$(COMMIT_STAMP):
	@mkdir -p $(@D) && rm -f $(BUILD)/.commit-* && touch $@
$(BUILD)/src/bench/commit.o: $(COMMIT_STAMP) $(CUDA_SAID)
$(BUILD)/src/bench/commit.o: CPPFLAGS += -DWINNOW_COMMIT='"$(COMMIT)"' -DWINNOW_BUILT_FOR='"$(BUILT_FOR)"'

# No header tells the versions of these two.
library_version = '"$(shell pkg-config --modversion $(1) 2>/dev/null)"'
$(BUILD)/src/cli/version.o: CPPFLAGS += -DWINNOW_SENTENCEPIECE=$(call library_version,sentencepiece) \
  -DWINNOW_LIBEDIT=$(call library_version,libedit)

# The libraries, from the distribution's packages. The stamp saves looking for them every time.
$(DEPS): tools/install_deps.sh
	@mkdir -p $(@D)
	tools/install_deps.sh build
	@touch $@

##@ Install
# Builds nothing where there is a program, so that no file of another user's tree becomes root's.
PREFIX ?= /usr/local
AT := $(DESTDIR)$(PREFIX)
MAN_PAGE := $(AT)/share/man/man1/winnow.1
BASH_COMPLETION := $(AT)/share/bash-completion/completions/winnow
ZSH_COMPLETION := $(AT)/share/zsh/site-functions/_winnow
DEMO_AT := $(AT)/share/winnow/demo
INSTALL_PAGE = set -o pipefail; tools/help_pages.sh $(1) $(BUILD)/winnow | install -Dm644 /dev/stdin '$(2)'
.PHONY: install uninstall
install: $(if $(wildcard $(BUILD)/winnow),,$(BUILD)/winnow)  ## program, manual page and completion, under PREFIX=/usr/local; DEMO=yes: the model, too
	install -Dm755 $(BUILD)/winnow '$(AT)/bin/winnow'
	$(call INSTALL_PAGE,man,$(MAN_PAGE))
	$(call INSTALL_PAGE,bash,$(BASH_COMPLETION))
	$(call INSTALL_PAGE,zsh,$(ZSH_COMPLETION))
	$(if $(DEMO),install -Dm644 -t '$(DEMO_AT)' weights/demo/*.json weights/demo/*.safetensors weights/demo/tokenizer.model)

uninstall:  ## remove what install wrote
	rm -f '$(AT)/bin/winnow' '$(MAN_PAGE)' '$(BASH_COMPLETION)' '$(ZSH_COMPLETION)'
	rm -rf '$(DEMO_AT)'

##@ Tests
.PHONY: test test-gpu asan fuzz
RUN_TESTS := --reporters=console,closing-line
# The first of them is about the CPU, also where there is a GPU.
test: $(BUILD)/.test-deps $(BUILD)/winnow $(BUILD)/tests/winnow_tests $(BUILD)/tests/winnow_faulty $(if $(CUDA_TEST_SRCS),$(BUILD)/tests/winnow_gpu_tests)  ## all tests; those of the GPU say so where there is none
	CUDA_VISIBLE_DEVICES= WINNOW_BINARY=$(BUILD)/winnow $(BUILD)/tests/winnow_tests $(RUN_TESTS)
	$(if $(CUDA_TEST_SRCS),WINNOW_BINARY=$(BUILD)/winnow $(BUILD)/tests/winnow_gpu_tests $(RUN_TESTS))

# NumPy chooses rows again, independently; without it that test says so.
$(BUILD)/.test-deps: tools/install_deps.sh
	@mkdir -p $(@D)
	-tools/install_deps.sh test
	@touch $@

test-gpu: $(if $(CUDA_TEST_SRCS),$(BUILD)/tests/winnow_gpu_tests $(BUILD)/tests/winnow_faulty)  ## the tests of the GPU alone
	$(if $(CUDA_TEST_SRCS),WINNOW_BINARY=$(BUILD)/winnow $< $(RUN_TESTS),@echo "built without CUDA: nothing to test")

$(BUILD)/tests/winnow_tests: $(TEST_OBJS) $(SUPPORT_OBJS) $(LIB_OBJS)
	$(CXX) -o $@ $^ $(LDLIBS)

$(BUILD)/tests/winnow_gpu_tests: $(BUILD)/tests/main.o $(CUDA_TEST_OBJS) $(SUPPORT_OBJS) $(LIB_OBJS)
	$(CXX) -o $@ $^ $(LDLIBS)

# Each allocation of the arena is a block of its own here, so that the checker sees its ends.
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all
asan:  ## all tests under AddressSanitizer and UndefinedBehaviorSanitizer
	$(MAKE) BUILD=build-asan NVCC=no EXTRA_LDLIBS="$(SANITIZE)" \
	  EXTRA_CXXFLAGS="-O1 $(SANITIZE) -D_GLIBCXX_ASSERTIONS -DWINNOW_ARENA_APART" test

# Objects of their own, in an archive: a target links what it calls. New inputs are kept in
# build-fuzz/corpus, beside the seeds that the tree has.
FUZZ_SECONDS ?= 60
FUZZ_CXX := clang++-14
FUZZ_SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined
FUZZERS := $(patsubst tests/fuzz/%.cpp,build-fuzz/%,$(wildcard tests/fuzz/*.cpp))
FUZZ_SRCS := $(wildcard src/base/*.cpp weights/*.cpp tokenizer/*.cpp src/kv/*.cpp) src/arena.cpp src/bench/commit.cpp \
  $(addprefix src/chat/,frame.cpp frames.cpp recognise.cpp) \
  $(wildcard src/cli/option*.cpp) $(addprefix src/cli/,number.cpp suggest.cpp version.cpp)
FUZZ_OBJS := $(FUZZ_SRCS:%.cpp=build-fuzz/%.o)
fuzz: $(FUZZERS)  ## every parser of files, and of the command line, FUZZ_SECONDS each, with clang's libFuzzer
	set -e; for fuzzer in $(^F); do mkdir -p build-fuzz/corpus/$$fuzzer; echo "$$fuzzer"; \
	  build-fuzz/$$fuzzer -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=4096 -print_final_stats=1 \
	  -artifact_prefix=build-fuzz/ build-fuzz/corpus/$$fuzzer tests/fuzz/seeds/$${fuzzer#fuzz_}; done

.SECONDARY: $(FUZZ_OBJS)
$(FUZZERS): build-fuzz/%: tests/fuzz/%.cpp build-fuzz/winnow.a
	$(FUZZ_CXX) -std=c++20 -O1 -g -I. -fsanitize=fuzzer $(FUZZ_SANITIZE) -o $@ $^ $(FUZZ_WRAP) $(TEXT_LIBS)
build-fuzz/fuzz_command_line: FUZZ_WRAP := -Wl,--wrap=open

build-fuzz/winnow.a: $(FUZZ_OBJS)
	ar rcs $@ $^

$(FUZZ_OBJS): build-fuzz/%.o: %.cpp | build-fuzz/.deps
	@mkdir -p $(@D)
	$(FUZZ_CXX) -std=c++20 -O1 -g -I. -MMD -MP -fsanitize=fuzzer-no-link $(FUZZ_SANITIZE) -c -o $@ $<

build-fuzz/.deps: tools/install_deps.sh
	@mkdir -p $(@D)
	tools/install_deps.sh build && tools/install_deps.sh fuzz
	@touch $@

##@ Measure
.PHONY: bench bench-gpu eval profile
# A book in plain text that the bundled model has not read.
EVAL_BOOK ?= weights/demo/frankenstein.txt
EVAL_SAMPLES ?= 100
EVAL_LENGTHS ?= 4096,8192,16384
EVAL_OUT ?= tools/results
EVAL := $(BUILD)/winnow eval -m weights/demo --kv-budget 128,256,512,1024,2048
eval: $(BUILD)/winnow  ## the README's evaluation, of EVAL_BOOK=FILE: table and pictures
	@test -f '$(EVAL_BOOK)' || { echo "make eval: EVAL_BOOK=FILE must name a book in plain text" >&2; exit 2; }
	@mkdir -p $(EVAL_OUT)
	$(EVAL) needle --haystack '$(EVAL_BOOK)' --words weights/demo/held_out.json --samples $(EVAL_SAMPLES) \
	  --lengths $(EVAL_LENGTHS) --json -o $(EVAL_OUT)/needle.json --plot $(EVAL_OUT)/needle.svg \
	  --heat-map $(EVAL_OUT)/needle-depth.svg
	$(EVAL) ppl -f '$(EVAL_BOOK)' --prefix 4096 --score 128 --stride 8192 --samples 12 --json -o $(EVAL_OUT)/ppl.json
	$(if $(filter tools/results,$(EVAL_OUT)),tools/readme_tables.py)

bench: $(BUILD)/winnow  ## tokens per second with the bundled model
	$(BUILD)/winnow bench -m weights/demo -p 512,2000 -n 128

BENCH_OUT ?= tools/results
bench-gpu: $(BUILD)/winnow  ## the README's speeds, on the GPU: BENCH_PARTS of tools/bench_gpu.sh
	WINNOW=$(BUILD)/winnow BENCH_OUT='$(BENCH_OUT)' tools/bench_gpu.sh $(BENCH_PARTS)
	$(if $(filter tools/results,$(BENCH_OUT)),tools/readme_tables.py)

PROFILE_OUT ?= $(BUILD)/profile
profile: $(BUILD)/winnow  ## where the time goes: a table, a timeline, nsys and ncu, and what to expect of each
	WINNOW=$(BUILD)/winnow PROFILE_OUT='$(PROFILE_OUT)' tools/profile.sh $(PROFILE_PARTS)

##@ Keep in shape
.PHONY: format format-check readme lint
SOURCES = $(shell git ls-files '*.cpp' '*.h' '*.cu' '*.cuh')
format:  ## clang-format 14 over all sources
	tools/install_deps.sh format
	clang-format-14 -i $(SOURCES)

format-check:  ## fails where a source is not formatted
	tools/install_deps.sh format
	clang-format-14 --dry-run --Werror $(SOURCES)

readme:  ## the pages' tables, of what was measured and of lines
	tools/readme_tables.py

lint:  ## clang-tidy 14 on host code, files and functions that are too long, pages that point nowhere
	tools/check_links.py
	tools/readme_tables.py --check
	tools/install_deps.sh build && tools/install_deps.sh lint
	@tools/lint.sh $(SOURCES)

.PHONY: help
help:
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

-include $(FUZZ_OBJS:.o=.d) $(LIB_OBJS:.o=.d) $(MAIN_OBJS:.o=.d) $(TEST_OBJS:.o=.d) $(SUPPORT_OBJS:.o=.d) $(FAULT_OBJS:.o=.d) $(CUDA_TEST_OBJS:.o=.d)
