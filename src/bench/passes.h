// Whole passes: prompts that are read, tokens that are drawn.
#pragma once

#include "src/bench/scene.h"

namespace winnow {

/// What the tests need that -p, -n, -d and the policies ask for. Fails like resolve_kv.
BenchMemory plan_passes(const BenchRequest& request);

/// Runs them, prefill first.
void bench_passes(const BenchScene& scene, const AddRecord& add);

}  // namespace winnow
