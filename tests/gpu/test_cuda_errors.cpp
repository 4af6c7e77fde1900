// What is said where no GPU can be used, and what happens after a GPU failed. Some of it needs a
// process of its own: the test program starts itself with one of the cases marked "child".
#include <doctest/doctest.h>
#include <stdio.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <iostream>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "cuda/cuda_device.h"
#include "cuda/factory.h"
#include "src/base/error.h"
#include "tests/gpu/gpu.h"
#include "tests/support/expect_error.h"

using namespace winnow;
using namespace winnow::test;

namespace {

ModelConfig small_config() {
  ModelConfig config;
  config.hidden_size = 64;
  config.intermediate_size = 96;
  config.n_layers = 1;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.head_dim = 16;
  config.vocab_size = 32;
  config.max_positions = 64;
  config.rms_norm_eps = 1e-5F;
  config.rope_theta = 10000;
  return config;
}

struct ChildResult {
  std::string output;
  int status = 0;  // as of waitpid
};

/// Runs the test case `name` of this program, with `environment` ("NAME=value") set.
ChildResult run_child(const std::string& name, const std::string& environment) {
  char self[PATH_MAX] = {};
  REQUIRE(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
  const std::string line =
      environment + " '" + self + "' --no-skip --test-case='" + name + "' 2>&1";
  FILE* pipe = popen(line.c_str(), "r");
  REQUIRE(pipe != nullptr);
  ChildResult result;
  char text[512];
  while (std::fgets(text, sizeof(text), pipe) != nullptr) result.output += text;
  result.status = pclose(pipe);
  return result;
}

bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("child: says why there is no GPU" * doctest::skip()) {
  std::cout << "reason: " << why_no_gpu() << std::endl;
}

TEST_CASE("child: a kernel writes where no memory is" * doctest::skip()) {
  cuda::CudaDevice device(small_config(), DType::kF32, {});
  device.reserve({.weights = 8 << 20, .kv = 8 << 20, .scratch = 8 << 20});
  auto* at = static_cast<float*>(device.scratch_region().allocate("x", 4096));
  device.kv_region(0).allocate("kv", 4096);
  float* beyond = at + (uint64_t{1} << 32);
  device.fill_random(beyond, DType::kF32, 1000, 1, 1);
  float value = 0;
  try {
    device.download(&value, at, sizeof(value));
    std::cout << "no error" << std::endl;
  } catch (const Error& error) {
    std::cout << "code " << static_cast<int>(error.code()) << ": " << error.what() << std::endl;
  }
}

TEST_CASE("without a GPU the reason is one line, and a device is refused with it") {
  const std::string why_not = why_no_gpu();
  if (why_not.empty()) {
    CHECK(make_cuda_device(small_config(), DType::kF32)->name().find("(cuda)") !=
          std::string::npos);
    return;
  }
  MESSAGE("no GPU here: ", why_not);
  expect_error(ExitCode::kDevice, {"GPU: ", why_not},
               [] { make_cuda_device(small_config(), DType::kF32); });
}

TEST_CASE("an empty CUDA_VISIBLE_DEVICES is named, where there is a driver") {
  for (const char* environment : {"CUDA_VISIBLE_DEVICES=", "CUDA_VISIBLE_DEVICES=99"}) {
    const ChildResult child = run_child("child: says why there is no GPU", environment);
    CAPTURE(child.output);
    CHECK(child.status == 0);
    CHECK((contains(child.output, "reason: no GPU is visible: CUDA_VISIBLE_DEVICES is '") ||
           contains(child.output, "reason: no NVIDIA driver is installed")));
  }
}

TEST_CASE("an error inside a kernel is a device error, and cleaning up after it goes well") {
  NEEDS_GPU();
  const ChildResult child = run_child("child: a kernel writes where no memory is", "");
  CAPTURE(child.output);
  CHECK(child.status == 0);  // neither a signal nor a failed test
  CHECK(contains(child.output, "code 5: GPU: copy from the GPU: "));
  CHECK(contains(child.output, "cudaErrorIllegalAddress"));
}

TEST_CASE("a run that does not fit is refused before memory is taken") {
  NEEDS_GPU();
  const ModelFiles files = open_network("weights/demo");
  auto device = make_cuda_device(files.config, files.plan.type);
  const RunShape shape{.capacity = int64_t{1} << 30, .prompt_tokens = 16};
  expect_error(ExitCode::kMemory, {"needed", "free"},
               [&] { load_model(files, std::move(device), shape, {}); });
}

TEST_CASE("sampling logits that are not finite is an error that says where") {
  NEEDS_GPU();
  const Model model = load_tiny_on_gpu({}, 16);
  const auto n_ids = static_cast<int32_t>(model.config.vocab_size);
  Device& device = *model.device;
  Region& scratch = device.scratch_region();
  float* logits = scratch.allocate_array<float>("logits", n_ids);
  const std::vector<int32_t> zeros(16);
  int32_t* counters = scratch.allocate_array<int32_t>("counters", 16);
  device.upload(counters, zeros.data(), zeros.size() * sizeof(int32_t));
  StepState state;
  state.token = counters;
  state.position = counters + 4;
  state.n_sampled = counters + 8;
  state.stopped = counters + 12;
  state.stop_ids = scratch.allocate_array<int32_t>("stop tokens", kMaxStopIds);
  const std::vector<int32_t> no_ids(kMaxStopIds, -1);
  device.upload(state.stop_ids, no_ids.data(), no_ids.size() * sizeof(int32_t));
  state.seen = scratch.allocate_array<uint8_t>("seen", n_ids);
  const std::vector<uint8_t> unseen(static_cast<size_t>(n_ids));
  device.upload(state.seen, unseen.data(), unseen.size());

  const float infinity = std::numeric_limits<float>::infinity();
  const auto expect = [&](std::vector<float> values, const std::string& what) {
    device.upload(logits, values.data(), values.size() * sizeof(float));
    for (const float temperature : {0.0F, 0.7F}) {
      device.upload(state.stopped, zeros.data(), sizeof(int32_t));
      device.sample(logits, n_ids, {.temperature = temperature}, state);
      expect_error(ExitCode::kInternal, {"logits are not finite", what},
                   [&] { device.take_drawn(); });
    }
  };
  std::vector<float> values(static_cast<size_t>(n_ids), 1.0F);
  values[7] = std::numeric_limits<float>::quiet_NaN();
  expect(values, "NaN at id 7");
  values[7] = infinity;
  expect(values, "infinity at id 7");
  expect(std::vector<float>(static_cast<size_t>(n_ids), -infinity), "-infinity");
}
