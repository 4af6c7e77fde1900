// The queries of a prompt's last tokens, in one layer: what most methods score rows with. A prompt
// goes through a layer in chunks, and they may lie in several.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "src/base/dtype.h"
#include "src/device.h"
#include "src/kv/selector.h"
#include "weights/config.h"

namespace winnow {

class QueryWindow {
 public:
  /// For the last `n` tokens; memory from the scratch region, which the caller rewinds.
  QueryWindow(const ModelConfig& config, Device& device, int64_t n)
      : device_(device),
        row_bytes_(static_cast<uint64_t>(config.q_size()) * dtype_size(device.compute_type())),
        n_(n),
        memory_(static_cast<std::byte*>(
            device.scratch_region().allocate("last queries", bytes_of(n)))) {}

  /// Takes what it wants of rows [first, first + rows) of a prompt of `length`.
  /// q [rows, n_heads, head_dim] T
  void take(const void* q, int64_t first, int64_t rows, int64_t length) {
    const int64_t window = length - n_;
    const int64_t begin = std::max(first, window);
    if (begin >= first + rows) return;
    device_.copy(memory_ + bytes_of(begin - window),
                 static_cast<const std::byte*>(q) + bytes_of(begin - first),
                 bytes_of(first + rows - begin));
  }

  void show(LayerRows& layer) const {
    layer.queries = memory_;
    layer.n_queries = n_;
    layer.last_query = memory_ + bytes_of(n_ - 1);
  }

 private:
  uint64_t bytes_of(int64_t rows) const { return static_cast<uint64_t>(rows) * row_bytes_; }

  Device& device_;
  uint64_t row_bytes_;
  int64_t n_;
  std::byte* memory_;  // [n, n_heads, head_dim] T
};

}  // namespace winnow
