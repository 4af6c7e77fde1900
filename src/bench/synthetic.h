// A cache as a long prompt would leave it, without the prompt: keys and values are random numbers,
// and as many rows are there, at such positions and with such masks, as the settings keep.
//
//   every row kept   | 0 1 2 ...                                  depth-1 |
//   a budget         | sink | head 0's, head 1's, ... in turn | recent    |   no row of the zone is
//                                                                             shared by two lists
#pragma once

#include <cstdint>
#include <memory>

#include "src/device.h"
#include "src/kv/settings.h"
#include "src/kv/store.h"
#include "weights/config.h"

namespace winnow {

/// The counters of every KV head after a prompt of `depth` tokens, with room for `growth` more rows
/// where generated rows are appended.
HeadRows synthetic_head(const KvSettings& settings, int64_t depth, int64_t growth);

/// Adds all layers of `config` to an empty store, every head of them like `head`, fills its rooms,
/// and brings the device's counters up to date. Fails with kMemory.
void fill_store(KvStore& store, Device& device, const ModelConfig& config,
                const KvSettings& settings, int64_t depth, const HeadRows& head);

}  // namespace winnow
