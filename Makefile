# winnow. `make help` lists what can be made.
#
#   BUILD=build          where results go
#   ARCH=x86-64-v3       what g++ compiles for: AVX2 and FMA; ARCH=native for this machine alone
#   EXTRA_CXXFLAGS=      more flags for g++, e.g. -Werror

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
CXXFLAGS := -std=c++20 -O3 -g -march=$(ARCH) -fopenmp $(WARNINGS) $(EXTRA_CXXFLAGS)
LDLIBS := -lsentencepiece -fopenmp $(EXTRA_LDLIBS)

HOST_DIRS := src src/base src/cli src/commands src/cpu weights tokenizer
MAIN_SRCS := src/main.cpp src/start_up.cpp
LIB_SRCS := $(filter-out $(MAIN_SRCS),$(wildcard $(HOST_DIRS:%=%/*.cpp)))
TEST_SRCS := $(wildcard tests/*.cpp)
LIB_OBJS := $(LIB_SRCS:%.cpp=$(BUILD)/%.o)
MAIN_OBJS := $(MAIN_SRCS:%.cpp=$(BUILD)/%.o)
TEST_OBJS := $(TEST_SRCS:%.cpp=$(BUILD)/%.o)
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

# Draws are the same on every platform only if products and sums are rounded one by one.
$(BUILD)/src/sampler.o: CXXFLAGS += -ffp-contract=off

# Runs before anything else, and says so where the CPU is too old: it must not need AVX2 itself.
$(BUILD)/src/start_up.o: CXXFLAGS += -march=x86-64 $(if $(filter x86-64-v3,$(ARCH)),-DWINNOW_REQUIRE_AVX2)

# The libraries, from the distribution's packages. The stamp saves looking for them every time.
$(DEPS): tools/install_deps.sh
	@mkdir -p $(@D)
	tools/install_deps.sh build
	@touch $@

##@ Tests
.PHONY: test asan fuzz
test: $(BUILD)/winnow $(BUILD)/tests/winnow_tests  ## all tests
	WINNOW_BINARY=$(BUILD)/winnow $(BUILD)/tests/winnow_tests --reporters=console,closing-line

$(BUILD)/tests/winnow_tests: $(TEST_OBJS) $(LIB_OBJS)
	$(CXX) -o $@ $^ $(LDLIBS)

# Each allocation of the arena is a block of its own here, so that the checker sees its ends.
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all
asan:  ## all tests under AddressSanitizer and UndefinedBehaviorSanitizer
	$(MAKE) BUILD=build-asan EXTRA_LDLIBS="$(SANITIZE)" \
	  EXTRA_CXXFLAGS="-O1 $(SANITIZE) -D_GLIBCXX_ASSERTIONS -DWINNOW_ARENA_APART" test

FUZZ_SECONDS ?= 60
FUZZERS := $(patsubst tests/fuzz/%.cpp,build-fuzz/%,$(wildcard tests/fuzz/*.cpp))
fuzz: $(FUZZERS)  ## every parser of files, FUZZ_SECONDS each, with clang's libFuzzer
	set -e; for fuzzer in $^; do $$fuzzer -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=4096 \
	  -artifact_prefix=build-fuzz/; done

FUZZ_SRCS := $(wildcard src/base/*.cpp weights/*.cpp tokenizer/*.cpp)
build-fuzz/%: tests/fuzz/%.cpp $(FUZZ_SRCS) | $(DEPS)
	@mkdir -p $(@D)
	tools/install_deps.sh fuzz
	clang++-14 -std=c++20 -O1 -g -I. -fsanitize=fuzzer,address,undefined -o $@ $< $(FUZZ_SRCS) \
	  -lsentencepiece

##@ Measure
.PHONY: bench
bench: $(BUILD)/winnow  ## tokens per second with the bundled model
	$(BUILD)/winnow bench -m weights/demo -p 512,2000 -n 128

##@ Keep in shape
.PHONY: format format-check lint
SOURCES = $(shell git ls-files '*.cpp' '*.h' '*.cu' '*.cuh')
format:  ## clang-format 14 over all sources
	tools/install_deps.sh format
	clang-format-14 -i $(SOURCES)

format-check:  ## fails where a source is not formatted
	tools/install_deps.sh format
	clang-format-14 --dry-run --Werror $(SOURCES)

lint:  ## clang-tidy 14 on host code, and files and functions that are too long
	tools/install_deps.sh lint
	tools/lint.sh $(filter-out %.cu %.cuh,$(SOURCES))

.PHONY: help
help:
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

-include $(LIB_OBJS:.o=.d) $(MAIN_OBJS:.o=.d) $(TEST_OBJS:.o=.d)
