#include "src/dump_place.h"

#include <algorithm>
#include <cstdio>
#include <string>
#include <system_error>
#include <utility>

#include "src/base/error.h"

namespace winnow {

DumpPlace::DumpPlace(std::filesystem::path dir, std::vector<int32_t> layers,
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

bool DumpPlace::wants(int64_t l) const {
  return layers_.empty() || std::ranges::count(layers_, static_cast<int32_t>(l)) > 0;
}

std::filesystem::path DumpPlace::file(int64_t l, std::string_view name) const {
  char layer[32] = "";
  if (l >= 0) std::snprintf(layer, sizeof(layer), "layer_%02lld.", static_cast<long long>(l));
  return dir_ / (layer + std::string(name) + ".npy");
}

DumpPlace DumpPlace::folder(std::string_view name) const {
  return {dir_ / name, layers_, config_};
}

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

}  // namespace winnow
