// How long the fused products of a decode token take, kernel by kernel in every plan and as a whole
// token, beside the rate at which the GPU reads its memory. Run with --no-skip.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cuda/gemv_fused.h"
#include "cuda/graph.h"
#include "cuda/random.h"
#include "tests/gpu/draw_buffers.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/kv_buffers.h"
#include "tests/gpu/read_ceiling.h"
#include "tests/gpu/stream.h"
#include "tests/gpu/timing.h"

using namespace winnow;
using namespace winnow::test;

namespace {

constexpr DType kType = DType::kBF16;
constexpr float kEps = 1e-5F;

struct NetworkShape {
  std::string name;
  int64_t hidden, intermediate, layers, vocab;
  ModelConfig heads;
};

/// The matrices of a network, filled with random numbers, and what its steps read and write.
struct SpeedNetwork {
  struct Layer {
    Matrix qkv, o, gate_up, down;
  };

  explicit SpeedNetwork(const NetworkShape& s)
      : shape(s),
        rows(TestLayer(s.heads, std::vector<int32_t>(size_t(s.heads.n_kv_heads), 100), 4), kType),
        norm(raw_bytes(std::vector<float>(size_t(s.hidden), 1))),
        x(raw_bytes(random_floats(s.hidden, 1))),
        q(raw_bytes(std::vector<float>(size_t(s.heads.q_size()), 0))),
        attention(raw_bytes(std::vector<float>(size_t(s.heads.q_size()), 0))),
        exchange(cuda::attention_decode_exchange_bytes(cuda::heads_of(s.heads), 1, gpu)),
        h(raw_bytes(std::vector<float>(size_t(s.intermediate), 0))),
        normed(size_t(s.hidden) * 2),
        wide(size_t(std::max(2 * s.intermediate, s.vocab)) * 4),
        logits(size_t(s.vocab) * 4),
        position(raw_bytes(std::vector<int32_t>{100})),
        token(raw_bytes(std::vector<int32_t>{7})),
        n_sampled(raw_bytes(std::vector<int32_t>{0})),
        seen(raw_bytes(std::vector<uint8_t>(size_t(s.vocab), 0))),
        workspace(cuda::sample_workspace_bytes(int32_t(s.vocab))) {
    for (int64_t l = 0; l < s.layers; ++l) {
      layers.push_back({.qkv = matrix(s.heads.qkv_size(), s.hidden),
                        .o = matrix(s.hidden, s.heads.q_size()),
                        .gate_up = matrix(2 * s.intermediate, s.hidden),
                        .down = matrix(s.hidden, s.intermediate)});
    }
    lm_head = matrix(s.vocab, s.hidden);
  }

  Matrix matrix(int64_t n_rows, int64_t n_cols) {
    const auto n = uint64_t(n_rows * n_cols);
    weights.push_back(std::make_unique<DeviceBuffer>(n * 2));
    cuda::fill_random(weights.back()->data(), kType, n, weights.size(), 0.01F, nullptr);
    return {.data = weights.back()->data(), .type = kType, .rows = n_rows, .cols = n_cols};
  }

  cuda::NormedRow row() const { return {x.as<float>(), norm.as<float>(), kEps}; }
  Batch batch() const {
    return {.n = 1,
            .token = token.as<int32_t>(),
            .position = position.as<int32_t>(),
            .x = x.as<float>()};
  }
  StepState state() const {
    StepState state;
    state.token = token.as<int32_t>();
    state.n_sampled = n_sampled.as<int32_t>();
    state.seen = seen.as<uint8_t>();
    draws.put_into(state);
    return state;
  }
  double bytes() const {
    double sum = 2.0 * double(lm_head.rows * lm_head.cols);
    for (const Layer& l : layers) {
      for (const Matrix* m : {&l.qkv, &l.o, &l.gate_up, &l.down}) {
        sum += 2.0 * double(m->rows * m->cols);
      }
    }
    return sum;
  }

  cuda::Gpu gpu = cuda::current_gpu();
  NetworkShape shape;
  GpuLayer rows;
  DeviceBuffer norm, x, q, attention, exchange, h, normed, wide, logits, position, token, n_sampled,
      seen, workspace;
  DrawBuffers draws;
  std::vector<std::unique_ptr<DeviceBuffer>> weights;
  std::vector<Layer> layers;
  Matrix lm_head;
};

/// The steps of a token.
class Steps {
 public:
  explicit Steps(const SpeedNetwork& net)
      : net_(net),
        heads_(cuda::heads_of(net.shape.heads)),
        frequencies_(rope_frequencies(500'000, heads_.head_dim)) {}

  void qkv(const Matrix& w, const cuda::GemvPlan& plan) const {
    const cuda::GemvQkvArgs args{.w = w,
                                 .in = net_.row(),
                                 .position = net_.position.as<int32_t>(),
                                 .q = net_.q.data(),
                                 .heads = heads_,
                                 .kv = net_.rows.view()};
    cuda::gemv_qkv(args, frequencies_, plan, stream());
  }
  void o(const Matrix& w, const cuda::GemvPlan& plan) const {
    cuda::gemv_output(w, net_.attention.data(), net_.x.as<float>(), plan, stream());
  }
  void attention() const {
    const cuda::AttentionArgs args{.type = kType,
                                   .n = 1,
                                   .q = net_.q.data(),
                                   .out = net_.attention.data(),
                                   .exchange = net_.exchange.data(),
                                   .heads = heads_,
                                   .kv = net_.rows.view(),
                                   .gpu = net_.gpu};
    cuda::attention_decode(args, stream());
  }
  void gate_up(const Matrix& w, const cuda::GemvPlan& plan) const {
    cuda::gemv_gate_up(w, net_.row(), net_.h.data(), plan, stream());
  }
  void down(const Matrix& w, const cuda::GemvPlan& plan) const {
    cuda::gemv_output(w, net_.h.data(), net_.x.as<float>(), plan, stream());
  }
  void logits(const Matrix& w, const cuda::GemvPlan& plan) const {
    cuda::gemv_logits(w, net_.row(), nullptr, net_.logits.as<float>(), plan, stream());
  }
  void embed() const { cuda::embed(net_.lm_head, net_.batch(), stream()); }
  void sample() const {
    cuda::sample({.logits = net_.logits.as<float>(),
                  .n_ids = int32_t(net_.shape.vocab),
                  .options = {},
                  .state = net_.state(),
                  .drawn = net_.draws.slots(),
                  .workspace = net_.workspace.data()},
                 stream());
  }

  /// A layer with every operation by itself.
  void plain_layer(const SpeedNetwork::Layer& l) const {
    float* x = net_.x.as<float>();
    plain_normed(l.qkv);
    cuda::rope_and_store({.type = kType,
                          .qkv = net_.wide.data(),
                          .q = net_.q.data(),
                          .batch = net_.batch(),
                          .heads = heads_,
                          .kv = net_.rows.view()},
                         frequencies_, stream());
    cuda::gemv(l.o, net_.attention.data(), 1, x, DType::kF32, true, stream());
    plain_normed(l.gate_up);
    cuda::swiglu(net_.wide.data(), DType::kF32, 1, net_.shape.intermediate, net_.h.data(), kType,
                 stream());
    cuda::gemv(l.down, net_.h.data(), 1, x, DType::kF32, true, stream());
  }
  void plain_normed(const Matrix& w) const {
    cuda::rmsnorm(net_.x.as<float>(), net_.norm.as<float>(), kEps, 1, w.cols, net_.normed.data(),
                  kType, stream());
    cuda::gemv(w, net_.normed.data(), 1, net_.wide.data(), DType::kF32, false, stream());
  }

  /// Microseconds of `steps` as a graph.
  double time(const std::function<void()>& steps) const {
    const auto recording = cuda::make_recording(steps, stream(), true);
    return median_us([&] { recording->run(); });
  }

 private:
  cudaStream_t stream() const { return stream_.get(); }

  const SpeedNetwork& net_;
  cuda::Heads heads_;
  RopeFrequencies frequencies_;
  TestStream stream_;
};

std::string text(const char* format, double a, double b, double c) {
  char line[160];
  (void)std::snprintf(line, sizeof(line), format, a, b, c);
  return line;
}

std::string name_of(const cuda::GemvPlan& p) {
  return "r" + std::to_string(p.rows) + " d" + std::to_string(p.depth) + " w" +
         std::to_string(p.warps) + " b" + std::to_string(p.blocks);
}

/// A kernel over the same matrix of every layer, one after the other.
struct Kernel {
  std::string name;
  cuda::GemvInput input;
  bool pairs;  // kRows is 2
  std::vector<Matrix> matrices;
  std::function<void(const Matrix&, const cuda::GemvPlan&)> run;
};

std::vector<cuda::GemvPlan> plans_for(const Kernel& kernel, const cuda::Gpu& gpu) {
  const int all = gpu.multiprocessors;
  std::vector<cuda::GemvPlan> plans;
  for (const int rows : {1, 2}) {
    if (kernel.pairs && rows != 2) continue;
    for (const int depth : {12, 16, 20, 24}) plans.push_back({rows, depth, 8, all});
    for (const int depth : {8, 10, 12}) plans.push_back({rows, depth, 16, all});
    for (const int depth : {8, 10, 12}) plans.push_back({rows, depth, 8, 2 * all});
  }
  return plans;
}

/// Prints all plans; returns the fastest.
cuda::GemvPlan time_kernel(const Kernel& kernel, const Steps& steps, const cuda::Gpu& gpu,
                           double ceiling) {
  constexpr size_t kLaunches = 32;
  const Matrix& first = kernel.matrices.front();
  const double bytes = 2.0 * double(first.rows * first.cols);
  const cuda::GemvPlan chosen = *cuda::plan_gemv(first, kernel.input, gpu);
  cuda::GemvPlan fastest = chosen;
  double least = 1e30;
  std::string all;
  for (cuda::GemvPlan plan : plans_for(kernel, gpu)) {
    const double us = steps.time([&] {
      for (size_t i = 0; i < kLaunches; ++i) {
        kernel.run(kernel.matrices[i % kernel.matrices.size()], plan);
      }
    }) / double(kLaunches);
    const bool is_chosen = plan.depth == chosen.depth && plan.warps == chosen.warps &&
                           plan.blocks == chosen.blocks &&
                           (kernel.pairs || plan.rows == chosen.rows);
    all += "\n    " + name_of(plan) +
           text(": %.2f us, %.0f GB/s, %.1f %%", us, bytes / us / 1e3, bytes / us / ceiling / 10) +
           (is_chosen ? "  <- chosen" : "");
    if (us >= least) continue;
    least = us;
    fastest = plan;
  }
  MESSAGE("  ", kernel.name, " ", first.rows, " x ", first.cols, ", fastest ", name_of(fastest),
          text(": %.2f us, %.0f GB/s, %.1f %% of the ceiling", least, bytes / least / 1e3,
               bytes / least / ceiling / 10),
          all);
  return fastest;
}

struct TokenPlans {
  cuda::GemvPlan qkv, o, gate_up, down, logits;
};

/// Twice the warps with rings half as deep: as much under way.
TokenPlans with_16_warps(TokenPlans plans) {
  for (cuda::GemvPlan* p : {&plans.qkv, &plans.o, &plans.gate_up, &plans.down, &plans.logits}) {
    p->warps = 16;
    p->depth /= 2;
  }
  return plans;
}

void run_token(const SpeedNetwork& net, const Steps& steps, const TokenPlans& plans,
               bool with_attention) {
  for (const SpeedNetwork::Layer& l : net.layers) {
    steps.qkv(l.qkv, plans.qkv);
    if (with_attention) steps.attention();
    steps.o(l.o, plans.o);
    steps.gate_up(l.gate_up, plans.gate_up);
    steps.down(l.down, plans.down);
  }
  steps.logits(net.lm_head, plans.logits);
}

void time_token(const std::string& name, const SpeedNetwork& net, const Steps& steps,
                double ceiling, const std::function<void()>& token) {
  const double us = steps.time(token);
  const double rate = net.bytes() / us / 1e3;
  MESSAGE("  ", name,
          text(": %.3f ms, %.0f tokens/s, %.1f %% of the ceiling", us / 1e3, 1e6 / us,
               100 * rate / ceiling));
}

void time_network(const NetworkShape& shape, double ceiling) {
  const SpeedNetwork net(shape);
  const Steps steps(net);
  const cuda::Gpu& gpu = net.gpu;
  MESSAGE(shape.name, text(": %.3f GB a token, %.3f ms at %.0f GB/s", net.bytes() / 1e9,
                           net.bytes() / ceiling / 1e6, ceiling));
  const auto normed = cuda::GemvInput::kNormed, plain = cuda::GemvInput::kPlain;
  Kernel qkv{"qkv", normed, true, {}, [&](auto& w, auto& p) { steps.qkv(w, p); }};
  Kernel o{"o", plain, false, {}, [&](auto& w, auto& p) { steps.o(w, p); }};
  Kernel gate_up{"gate+up", normed, true, {}, [&](auto& w, auto& p) { steps.gate_up(w, p); }};
  Kernel down{"down", plain, false, {}, [&](auto& w, auto& p) { steps.down(w, p); }};
  Kernel logits{
      "logits", normed, false, {net.lm_head}, [&](auto& w, auto& p) { steps.logits(w, p); }};
  for (const SpeedNetwork::Layer& l : net.layers) {
    qkv.matrices.push_back(l.qkv);
    o.matrices.push_back(l.o);
    gate_up.matrices.push_back(l.gate_up);
    down.matrices.push_back(l.down);
  }
  const auto chosen = [&](const Kernel& k) {
    return *cuda::plan_gemv(k.matrices.front(), k.input, gpu);
  };
  const TokenPlans by_rule = {chosen(qkv), chosen(o), chosen(gate_up), chosen(down),
                              chosen(logits)};
  const auto fastest = [&](const Kernel& k) { return time_kernel(k, steps, gpu, ceiling); };
  const TokenPlans by_time = {fastest(qkv), fastest(o), fastest(gate_up), fastest(down),
                              fastest(logits)};
  const auto time = [&](const std::string& name, const TokenPlans& plans, bool with_attention) {
    time_token(name, net, steps, ceiling, [&] { run_token(net, steps, plans, with_attention); });
  };
  time("products, plans by rule", by_rule, false);
  time("products, 16 warps", with_16_warps(by_rule), false);
  time("products, fastest plans", by_time, false);
  time("with attention, plans by rule", by_rule, true);
  time("with attention, 16 warps", with_16_warps(by_rule), true);
  time("with attention, fastest plans", by_time, true);
  time_token("embed, attention, greedy sample", net, steps, ceiling, [&] {
    steps.embed();
    run_token(net, steps, by_rule, true);
    steps.sample();
  });
  time_token("token, not fused", net, steps, ceiling, [&] {
    for (const SpeedNetwork::Layer& l : net.layers) steps.plain_layer(l);
    steps.plain_normed(net.lm_head);
  });
}

}  // namespace

TEST_CASE("timing: the fused products of a decode token" * doctest::skip()) {
  NEEDS_GPU();
  const double ceiling = read_ceiling_gbps();
  MESSAGE("read ceiling ", ceiling, " GB/s");
  time_network({"8B", 4096, 14'336, 32, 128'256, attention_shape(32, 8, 128)}, ceiling);
  time_network({"1B", 2048, 8192, 16, 128'256, attention_shape(32, 8, 64)}, ceiling);
}
