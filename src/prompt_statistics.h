// What the queries of a prompt are like in one layer, before they are rotated: see QueryStatistics.
#pragma once

#include <cstdint>

#include "src/device.h"
#include "src/kv/selector.h"
#include "weights/config.h"

namespace winnow {

class PromptStatistics {
 public:
  static uint64_t scratch_bytes(const ModelConfig& config) {
    return (sum_size(config) + products_size(config)) * sizeof(float) + 2 * Region::kAlignment;
  }

  /// Memory from the scratch region, which the caller rewinds.
  PromptStatistics(const ModelConfig& config, Device& device)
      : device_(device),
        sum_bytes_(sum_size(config) * sizeof(float)),
        products_bytes_(products_size(config) * sizeof(float)) {
    Region& scratch = device_.scratch_region();
    sums_.sum = static_cast<float*>(scratch.allocate("sum of queries", sum_bytes_));
    sums_.products = static_cast<float*>(scratch.allocate("products of queries", products_bytes_));
  }

  void begin_layer() {
    device_.clear(sums_.sum, sum_bytes_);
    device_.clear(sums_.products, products_bytes_);
  }

  /// The queries of a chunk that went through the layer.
  void add(const Batch& chunk, const Activations& a) {
    device_.add_query_statistics(chunk, a, sums_);
  }

  /// After the layer's last chunk, for a prompt whose `n` tokens begin at place `position`.
  void show(LayerRows& layer, int64_t position, int64_t n) const {
    layer.statistics = sums_;
    layer.outlook = {.n_queries = QueryStatistics::counted(position, n), .position = position + n};
  }

 private:
  static uint64_t sum_size(const ModelConfig& config) {
    return static_cast<uint64_t>(config.q_size());
  }
  static uint64_t products_size(const ModelConfig& config) {
    return static_cast<uint64_t>(config.q_size() * config.head_dim);
  }

  Device& device_;
  uint64_t sum_bytes_;
  uint64_t products_bytes_;
  QueryStatistics sums_;
};

}  // namespace winnow
