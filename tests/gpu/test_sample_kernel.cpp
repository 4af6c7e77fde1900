// The GPU's sampler against the CPU's: the same token, always.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "cuda/kernels.h"
#include "src/sampler.h"
#include "tests/gpu/buffers.h"
#include "tests/gpu/draw_buffers.h"
#include "tests/gpu/gpu.h"

using namespace winnow;
using namespace winnow::test;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

enum class Shape { kSpread, kTies, kFlat };

std::vector<float> make_logits(size_t n, uint32_t seed, Shape shape) {
  std::mt19937 random(seed);
  std::vector<float> logits(n);
  for (float& logit : logits) {
    const auto number = static_cast<float>(random() % 100'000) / 100'000;  // [0, 1)
    if (shape == Shape::kSpread) logit = 40 * number - 25;
    if (shape == Shape::kTies) logit = std::floor(7 * number) - 3;
    if (shape == Shape::kFlat) logit = number / 8;
    if (random() % 10 == 0) logit = -kInf;
    if (random() % 10 == 0) logit = random() % 2 == 0 ? 0.0F : -0.0F;
  }
  logits[n / 2] = 3;  // something is not masked
  return logits;
}

std::vector<uint8_t> make_seen(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> seen(n);
  for (uint8_t& mark : seen) mark = random() % 4 == 0 ? 1 : 0;
  return seen;
}

/// What the sampler leaves behind.
struct Result {
  int32_t token = 0;
  int32_t n_sampled = 0;
  std::vector<uint8_t> seen;
  int32_t stopped = 0;
  cuda::Drawn drawn;
};

Result sample_on_gpu(const std::vector<float>& logits, const SamplerOptions& options,
                     const std::vector<uint8_t>& seen, int32_t step, int32_t stop_id = -1,
                     int32_t stopped_before = 0) {
  const auto n = static_cast<int32_t>(logits.size());
  const DeviceBuffer device_logits(raw_bytes(logits)), device_seen(raw_bytes(seen));
  const DeviceBuffer token(raw_bytes(std::vector<int32_t>{-7}));
  const DeviceBuffer n_sampled(raw_bytes(std::vector<int32_t>{step}));
  const DrawBuffers draws(stop_id, stopped_before);
  const DeviceBuffer workspace(cuda::sample_workspace_bytes(n));
  StepState state;
  state.token = token.as<int32_t>();
  state.n_sampled = n_sampled.as<int32_t>();
  draws.put_into(state);
  state.seen = device_seen.as<uint8_t>();
  cuda::sample({.logits = device_logits.as<float>(),
                .n_ids = n,
                .options = options,
                .state = state,
                .drawn = draws.slots(),
                .workspace = workspace.data()},
               nullptr);
  (void)workspace.download();
  CHECK(device_logits.download() == raw_bytes(logits));
  return {.token = token.values<int32_t>()[0],
          .n_sampled = n_sampled.values<int32_t>()[0],
          .seen = device_seen.values<uint8_t>(),
          .stopped = draws.stopped.values<int32_t>()[0],
          .drawn = draws.drawn_slots.values<cuda::Drawn>()[0]};
}

void check_equal(const std::vector<float>& logits, const SamplerOptions& options, uint32_t seed) {
  CAPTURE(logits.size());
  CAPTURE(options.temperature);
  CAPTURE(options.top_k);
  CAPTURE(options.top_p);
  CAPTURE(options.min_p);
  CAPTURE(options.repeat_penalty);
  std::vector<uint8_t> seen = make_seen(logits.size(), seed);
  const auto step = static_cast<int32_t>(seed % 1000);
  std::vector<float> copy = logits;
  const int32_t expected = sample(copy, options, seen, uint64_t(step));
  const Result result = sample_on_gpu(logits, options, seen, step);
  CHECK(result.token == expected);
  CHECK(result.n_sampled == step + 1);
  CHECK(result.stopped == 0);
  CHECK(result.drawn.fault == cuda::LogitsFault::kNone);
  CHECK(result.drawn.id == expected);
  CHECK(result.drawn.number == 1);
  seen[size_t(expected)] = 1;
  CHECK(result.seen == seen);
}

const SamplerOptions kOptions[] = {
    {},
    {.repeat_penalty = 1.3F},
    {.temperature = 1},
    {.temperature = 0.7F, .top_k = 40},
    {.temperature = 1, .top_k = 1},
    {.temperature = 2.5F, .top_p = 0.9F},
    {.temperature = 1, .top_p = 0.01F},
    {.temperature = 1, .min_p = 0.05F},
    {.temperature = 0.05F},
    {.temperature = 50, .top_p = 0.999F, .min_p = 0.5F},
    {.temperature = 0.8F, .top_k = 100'000, .top_p = 0.95F, .min_p = 0.02F, .repeat_penalty = 1.1F},
};

}  // namespace

TEST_CASE("GPU: the sampler draws the CPU's token, for all options, sizes and kinds of logits") {
  NEEDS_GPU();
  uint32_t seed = 0;
  for (const SamplerOptions& plain : kOptions) {
    for (const size_t n : {1, 2, 33, 1000, 1025, 32'000}) {
      for (const Shape shape : {Shape::kSpread, Shape::kTies, Shape::kFlat}) {
        for (int repeat = 0; repeat < 3; ++repeat) {
          SamplerOptions options = plain;
          options.seed = ++seed;
          check_equal(make_logits(n, seed, shape), options, seed);
        }
      }
    }
    ++seed;
    check_equal(make_logits(128'256, seed, Shape::kSpread), plain, seed);
  }
}

TEST_CASE("GPU: logits that no token can be drawn from leave a status and nothing else") {
  NEEDS_GPU();
  struct Fault {
    std::vector<std::pair<size_t, float>> put;
    cuda::LogitsFault fault;
    int32_t id;
  };
  const Fault faults[] = {
      {{{700, kNan}, {31, kNan}, {5, kInf}}, cuda::LogitsFault::kNan, 31},
      {{{999, -kNan}}, cuda::LogitsFault::kNan, 999},
      {{{900, kInf}, {400, kInf}}, cuda::LogitsFault::kInfinity, 400},
  };
  for (const SamplerOptions& options : kOptions) {
    const std::vector<uint8_t> seen(1000, 0);
    for (const Fault& fault : faults) {
      std::vector<float> logits = make_logits(1000, 3, Shape::kSpread);
      for (const auto& [id, value] : fault.put) logits[id] = value;
      const Result result = sample_on_gpu(logits, options, seen, 4);
      CHECK(result.drawn.fault == fault.fault);
      CHECK(result.drawn.id == fault.id);
      CHECK(result.drawn.number == 1);
      CHECK(result.stopped == 1);
      CHECK(result.token == -7);
      CHECK(result.n_sampled == 4);
      CHECK(result.seen == seen);
    }
    const Result result = sample_on_gpu(std::vector<float>(1000, -kInf), options, seen, 4);
    CHECK(result.drawn.fault == cuda::LogitsFault::kAllMasked);
    CHECK(result.token == -7);
  }
}

TEST_CASE("GPU: the sampler stops at a stop token, and draws nothing afterwards") {
  NEEDS_GPU();
  const std::vector<uint8_t> seen(1000, 0);
  const std::vector<float> logits = make_logits(1000, 5, Shape::kSpread);
  for (const SamplerOptions& options : kOptions) {
    const int32_t token = sample_on_gpu(logits, options, seen, 4).token;
    const Result last = sample_on_gpu(logits, options, seen, 4, token);
    CHECK(last.token == token);
    CHECK(last.stopped == 1);
    CHECK(last.drawn.id == token);
    const Result none = sample_on_gpu(logits, options, seen, 4, token, 1);
    CHECK(none.token == -7);
    CHECK(none.n_sampled == 4);
    CHECK(none.drawn.number == 0);
    CHECK(none.seen == seen);
  }
}
