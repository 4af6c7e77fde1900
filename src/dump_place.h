// Where dumps go, and how their files are named.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "src/base/dtype.h"
#include "src/device.h"
#include "weights/config.h"

namespace winnow {

class DumpPlace {
 public:
  /// Makes `dir` where it is not there. `layers`: which; none for all. Fails with kIo, and with
  /// kUsage for layers that the model does not have.
  DumpPlace(std::filesystem::path dir, std::vector<int32_t> layers, const ModelConfig& config);

  const ModelConfig& config() const { return config_; }

  /// Whether layer `l` was asked for.
  bool wants(int64_t l) const;

  /// DIR/layer_LL.NAME.npy, or DIR/NAME.npy where `l` is -1.
  std::filesystem::path file(int64_t l, std::string_view name) const;

  /// The same place in the folder DIR/NAME, which is made. Fails with kIo.
  DumpPlace folder(std::string_view name) const;

 private:
  std::filesystem::path dir_;
  std::vector<int32_t> layers_;
  ModelConfig config_;
};

/// `n` numbers of `type` in device memory, as floats.
std::vector<float> download_floats(Device& device, const void* from, DType type, int64_t n);

}  // namespace winnow
