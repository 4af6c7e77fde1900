#include "src/layer_dump.h"

#include <algorithm>
#include <array>
#include <limits>

#include "src/npy.h"

namespace winnow {

void LayerDump::write(Device& device, const LayerRows& layer) const {
  if (!place_.wants(layer.layer)) return;
  const ModelConfig& c = place_.config();
  NpyWriter queries(place_.file(layer.layer, "q_last"), c.n_heads, c.head_dim);
  queries.append(download_floats(device, layer.last_query, device.compute_type(), c.q_size()));
  queries.finish();
  write_keys(device, layer);
}

void LayerDump::write_keys(Device& device, const LayerRows& layer) const {
  const ModelConfig& c = place_.config();
  const DType type = device.compute_type();
  const int64_t most = *std::ranges::max_element(layer.rows);
  const uint64_t row_bytes = static_cast<uint64_t>(c.head_dim) * dtype_size(type);
  std::vector<int64_t> first(layer.rows.size());
  device.download(first.data(), layer.kv.first, first.size() * sizeof(int64_t));
  NpyWriter keys(place_.file(layer.layer, "k"), std::array{c.n_kv_heads, most, c.head_dim});
  for (size_t h = 0; h < first.size(); ++h) {
    const auto* k =
        static_cast<const std::byte*>(layer.kv.k) + static_cast<uint64_t>(first[h]) * row_bytes;
    std::vector<float> rows = download_floats(device, k, type, layer.rows[h] * c.head_dim);
    rows.resize(static_cast<size_t>(most * c.head_dim), std::numeric_limits<float>::quiet_NaN());
    keys.append(rows);
  }
  keys.finish();
}

}  // namespace winnow
