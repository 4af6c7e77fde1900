#include "weights/scan.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <span>

namespace winnow {
namespace {

constexpr uint64_t kBlockBytes = uint64_t{8} << 20;  // a multiple of every element size

/// Counts the values of `block`, whose first element is number `first` of its tensor.
template <class T>
void count_block(std::span<const std::byte> block, uint64_t first, NonFinite& found) {
  for (size_t at = 0; at < block.size(); at += sizeof(T)) {
    T stored;
    std::memcpy(&stored, &block[at], sizeof(T));
    const float value = to_float(stored);
    if (std::isfinite(value)) continue;
    if (found.nan + found.inf == 0) found.first_index = first + at / sizeof(T);
    ++(std::isnan(value) ? found.nan : found.inf);
  }
}

}  // namespace

std::vector<NonFinite> find_non_finite(const Checkpoint& checkpoint, const LoadProgress& progress) {
  uint64_t total = 0;
  for (const auto& [name, entry] : checkpoint.tensors) total += entry.info.bytes;

  std::vector<NonFinite> results;
  std::vector<std::byte> buffer(kBlockBytes);
  uint64_t done = 0;
  for (const auto& [name, entry] : checkpoint.tensors) {
    const TensorInfo& info = entry.info;
    NonFinite found = {name, 0, 0, 0};
    for (uint64_t at = 0; at < info.bytes; at += kBlockBytes) {
      const auto block = std::span(buffer).first(std::min(kBlockBytes, info.bytes - at));
      checkpoint.files[entry.file].read_at(info.offset + at, block);
      with_dtype(info.type,
                 [&]<class T>(const T*) { count_block<T>(block, at / sizeof(T), found); });
      done += block.size();
      if (progress) progress(done, total);
    }
    if (found.nan + found.inf > 0) results.push_back(found);
  }
  return results;
}

}  // namespace winnow
