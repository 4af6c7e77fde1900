// Queries and keys of a prompt as .npy files, so that what was kept can be checked by other means.
#pragma once

#include "src/device.h"
#include "src/dump_place.h"
#include "src/kv/pass.h"

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
  explicit LayerDump(const DumpPlace& place) : place_(place) {}

  /// Fails with kIo.
  void write(Device& device, const LayerRows& layer) const;

 private:
  void write_keys(Device& device, const LayerRows& layer) const;

  DumpPlace place_;
};

}  // namespace winnow
