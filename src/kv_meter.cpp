#include "src/kv_meter.h"

#include <algorithm>

namespace winnow {
namespace {

/// (before + 1) + (before + 2) + ... + (before + n)
double growing_sum(double before, double n) {
  return n * before + n * (n + 1) / 2;
}

}  // namespace

void KvMeter::close_pass(const KvCache& cache, int64_t n) {
  const auto rows = static_cast<double>(n);
  const auto layers = static_cast<double>(config_.n_layers);
  const auto heads = static_cast<double>(config_.n_kv_heads);
  const auto position = static_cast<double>(cache.next_position());
  double other_layers = static_cast<double>(cache.rows_held());
  double held_at_end = other_layers;
  for (int64_t l = 0; l < config_.n_layers; ++l) {
    double layer_rows = 0;
    for (int64_t h = 0; h < config_.n_kv_heads; ++h) {
      layer_rows += static_cast<double>(cache.rows(l, h));
    }
    const double growth = rows * layer_rows + heads * growing_sum(0, rows);
    visible_ += growth;
    held_ += rows * (other_layers - layer_rows) + growth;
    other_layers += heads * rows;  // the layer is complete; the next one starts
    held_at_end += heads * rows;
  }
  visible_full_ += layers * heads * growing_sum(position, rows);
  held_full_ += layers * layers * heads * growing_sum(position, rows);
  most_held_ = std::max(most_held_, held_at_end);
  most_held_full_ = layers * heads * (position + rows);
}

}  // namespace winnow
