#include "src/layer_dump.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <limits>
#include <system_error>
#include <utility>

#include "src/base/dtype.h"
#include "src/base/error.h"
#include "src/npy.h"

namespace winnow {
namespace {

/// `n` numbers of `type` in device memory, as floats.
std::vector<float> download_floats(Device& device, const void* from, DType type, int64_t n) {
  const auto count = static_cast<size_t>(n);
  std::vector<float> floats(count);
  with_dtype(type, [&]<class T>(const T*) {
    std::vector<T> stored(count);
    device.download(stored.data(), from, count * sizeof(T));
    std::ranges::transform(stored, floats.begin(), [](T value) { return to_float(value); });
  });
  return floats;
}

}  // namespace

LayerDump::LayerDump(std::filesystem::path dir, std::vector<int32_t> layers,
                     const ModelConfig& config)
    : dir_(std::move(dir)), layers_(std::move(layers)), config_(config) {
  for (const int32_t layer : layers_) {
    if (layer < config_.n_layers) continue;
    fail(ExitCode::kUsage, "--dump-layers: there is no layer ", layer, ", the last is ",
         config_.n_layers - 1);
  }
  std::error_code error;
  std::filesystem::create_directories(dir_, error);
  if (!std::filesystem::is_directory(dir_)) {
    fail(ExitCode::kIo, quoted(dir_.native()), ": cannot make the directory",
         error ? ": " + error.message() : "");
  }
}

std::filesystem::path LayerDump::file(int64_t layer, const char* name) const {
  char text[64];
  std::snprintf(text, sizeof(text), "layer_%02lld.%s.npy", static_cast<long long>(layer), name);
  return dir_ / text;
}

void LayerDump::write(Device& device, const LayerRows& layer) const {
  const bool wanted =
      layers_.empty() || std::ranges::count(layers_, static_cast<int32_t>(layer.layer)) > 0;
  if (!wanted) return;
  NpyWriter queries(file(layer.layer, "q_last"), config_.n_heads, config_.head_dim);
  queries.append(
      download_floats(device, layer.last_query, device.compute_type(), config_.q_size()));
  queries.finish();
  write_keys(device, layer);
}

void LayerDump::write_keys(Device& device, const LayerRows& layer) const {
  const DType type = device.compute_type();
  const int64_t most = *std::ranges::max_element(layer.rows);
  const uint64_t row_bytes = static_cast<uint64_t>(config_.head_dim) * dtype_size(type);
  std::vector<int64_t> first(layer.rows.size());
  device.download(first.data(), layer.kv.first, first.size() * sizeof(int64_t));
  NpyWriter keys(file(layer.layer, "k"), std::array{config_.n_kv_heads, most, config_.head_dim});
  for (size_t h = 0; h < first.size(); ++h) {
    const auto* k =
        static_cast<const std::byte*>(layer.kv.k) + static_cast<uint64_t>(first[h]) * row_bytes;
    std::vector<float> rows = download_floats(device, k, type, layer.rows[h] * config_.head_dim);
    rows.resize(static_cast<size_t>(most * config_.head_dim),
                std::numeric_limits<float>::quiet_NaN());
    keys.append(rows);
  }
  keys.finish();
}

}  // namespace winnow
