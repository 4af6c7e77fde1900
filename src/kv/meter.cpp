#include "src/kv/meter.h"

#include <algorithm>

namespace winnow {

void KvMeter::count_layer(int64_t n, const KvLoad& load) {
  const int64_t at_end = load.visible + config_.n_kv_heads * (n - 1);
  count_held(load.elsewhere + at_end);
  const auto rows = static_cast<double>(n);
  const double seen = rows * static_cast<double>(load.visible + at_end) / 2;
  sums_.visible += seen;
  visible_at_end_ += static_cast<double>(at_end);
  sums_.held += seen + rows * static_cast<double>(load.elsewhere);
}

void KvMeter::count_held(int64_t entries) {
  most_held_ = std::max(most_held_, entries);
}

void KvMeter::close_pass(int64_t n, int64_t position) {
  const auto rows = static_cast<double>(n);
  const auto layers = static_cast<double>(config_.n_layers);
  const double entries = layers * static_cast<double>(config_.n_kv_heads);  // of one token
  // (position + 1) + (position + 2) + ... + (position + n)
  const double sum = rows * static_cast<double>(position) + rows * (rows + 1) / 2;
  sums_.visible_full += entries * sum;
  sums_.held_full += layers * entries * sum;
  sums_.most_visible = std::max(sums_.most_visible, visible_at_end_);
  sums_.most_visible_full = entries * static_cast<double>(position + n);
  visible_at_end_ = 0;
}

}  // namespace winnow
