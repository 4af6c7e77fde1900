// The KV footprint and peak against the closed formulas of its authors' scorer (arXiv 2506.17121),
// in chunk order: heads that keep a window and sinks, and heads that keep a share of each chunk.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "src/kv/meter.h"

using namespace winnow;

namespace {

constexpr int64_t kSink = 128;
constexpr int64_t kWindow = 1024;
constexpr int64_t kPatch = 64;

/// A model of one layer with ten KV heads, of which some keep sinks and a window and the others a
/// share of every chunk; read in chunks, then decoded.
class Simulation {
 public:
  Simulation(int64_t streaming_heads, double dropped_share)
      : streaming_(streaming_heads), dropped_(dropped_share), meter_(config()) {}

  const KvMeter& run(int64_t n, int64_t m, int64_t chunk) {
    for (int64_t at = 0; at < n; at += chunk) {
      const int64_t rows = std::min(chunk, n - at);
      read(at, rows);
      const auto kept = std::llround((1 - dropped_) * double(rows)) + (dropped_ > 0 ? kPatch : 0);
      past_ += std::min<int64_t>(kept, rows);
    }
    for (int64_t at = n; at < n + m; ++at) {
      read(at, 1);
      past_ += 1;
    }
    return meter_;
  }

 private:
  static constexpr int64_t kHeads = 10;
  static ModelConfig config() {
    ModelConfig c;
    c.n_layers = 1;
    c.n_kv_heads = kHeads;
    return c;
  }

  /// A pass over rows [at, at + rows) of the text.
  void read(int64_t at, int64_t rows) {
    const int64_t window = std::min(at, kWindow);
    const int64_t sink = std::min(at - window, kSink);
    const int64_t visible = streaming_ * (window + sink + 1) + (kHeads - streaming_) * (past_ + 1);
    meter_.count_layer(rows, {.visible = visible, .elsewhere = 0});
    meter_.close_pass(rows, at);
  }

  int64_t streaming_;
  double dropped_;
  int64_t past_ = 0;  // rows that a head of the second kind holds
  KvMeter meter_;
};

struct Case {
  int64_t streaming_heads;  // of ten
  double dropped;
  int64_t n, m, chunk;
  double footprint, peak;
};

}  // namespace

TEST_CASE("meter: the reference values of the footprint's scorer") {
  const Case cases[] = {
      {0, 0, 117000, 50, 32768, 1.0000, 1.0000},   {0, 0, 117000, 50, 8192, 1.0000, 1.0000},
      {7, 0, 117000, 50, 32768, 0.4924, 0.4548},   {7, 0, 117000, 50, 8192, 0.3611, 0.3498},
      {7, 0, 117000, 50, 131072, 0.9994, 0.9996},  {0, 0.7, 117000, 50, 32768, 0.4839, 0.4490},
      {0, 0.7, 117000, 50, 8192, 0.3556, 0.3501},  {0, 0.7, 117000, 50, 131072, 0.9994, 0.9996},
      {0, 0.7, 6000, 3000, 32768, 0.6937, 0.6667}, {9, 0, 117000, 50, 32768, 0.3473, 0.3448},
      {0, 0.9, 117000, 50, 32768, 0.3360, 0.3370},
  };
  for (const Case& c : cases) {
    CAPTURE(c.streaming_heads);
    CAPTURE(c.dropped);
    CAPTURE(c.chunk);
    const KvMeter meter = Simulation(c.streaming_heads, c.dropped).run(c.n, c.m, c.chunk);
    CHECK(std::fabs(meter.footprint() - c.footprint) < 0.00006);
    CHECK(std::fabs(meter.peak_fraction() - c.peak) < 0.00006);
  }
}

TEST_CASE("meter: a full cache that grows in all layers at once has occupancy 1") {
  ModelConfig c;
  c.n_layers = 1;
  c.n_kv_heads = 4;
  KvMeter meter(c);
  CHECK(meter.footprint() == 1);
  for (int64_t at = 0; at < 100; ++at) {
    meter.count_layer(1, {.visible = 4 * (at + 1), .elsewhere = 0});
    meter.close_pass(1, at);
  }
  CHECK(meter.footprint() == doctest::Approx(1));
  CHECK(meter.occupancy() == doctest::Approx(1));
  CHECK(meter.most_held() == 400);
}
