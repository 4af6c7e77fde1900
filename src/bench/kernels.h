// Single steps of a device, over and over.
//
// A step goes through all layers in turn, so that its weights and K/V rows come from memory and not
// from a cache, as in a real pass. Many such rounds are queued before the host waits; rounds of
// short steps are recorded first (Device::record), so that launching them takes no time.
#pragma once

#include "src/bench/scene.h"

namespace winnow {

/// What the steps need that --kernel names. Fails with kUsage where one of them has nothing to do,
/// and like resolve_kv.
BenchMemory plan_kernels(const BenchRequest& request);

void bench_kernels(const BenchScene& scene, const AddRecord& add);

}  // namespace winnow
