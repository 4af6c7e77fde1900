// Queries and keys of a prompt as .npy files, so that what was kept can be checked by other means.
#pragma once

#include <filesystem>
#include <vector>

#include "src/device.h"
#include "src/kv/pass.h"
#include "weights/config.h"

namespace winnow {

/// Writes, for each layer LL that is asked for,
///
///   layer_LL.q_last.npy   [n_heads, head_dim]           the query of the prompt's last token
///   layer_LL.k.npy        [n_kv_heads, rows, head_dim]  the rotated keys by position, before any
///                                                       is dropped; NaN where a head has fewer
///
/// in fp32. A later prompt's files replace an earlier one's.
class LayerDump {
 public:
  /// Makes `dir` where it is not there. `layers`: which; none for all. Fails with kIo, and with
  /// kUsage for layers that the model does not have.
  LayerDump(std::filesystem::path dir, std::vector<int32_t> layers, const ModelConfig& config);

  /// Fails with kIo.
  void write(Device& device, const LayerRows& layer) const;

 private:
  std::filesystem::path file(int64_t layer, const char* name) const;
  void write_keys(Device& device, const LayerRows& layer) const;

  std::filesystem::path dir_;
  std::vector<int32_t> layers_;
  ModelConfig config_;
};

}  // namespace winnow
