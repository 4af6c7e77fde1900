// What was kept: which positions of the text every KV head still holds, and for which query heads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace winnow {

/// The rows of one KV head, by ascending position.
struct KeptHead {
  std::vector<int32_t> position;  // place in the text
  std::vector<uint32_t> mask;     // bit g: query head h * group + g sees the row
};

struct KeptRecord {
  std::string policy;
  std::optional<int64_t> budget;  // rows of a KV head; none for full
  int64_t n_tokens = 0;           // of the text that was read: every position is below
  int64_t n_layers = 0;
  int64_t n_kv_heads = 0;
  int64_t group = 1;            // query heads of a KV head
  std::vector<KeptHead> heads;  // [n_layers * n_kv_heads]

  const KeptHead& head(int64_t layer, int64_t h) const {
    return heads[static_cast<size_t>(layer * n_kv_heads + h)];
  }
};

}  // namespace winnow
