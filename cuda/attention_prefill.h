// The ways in which attention_prefill() (kernels.h) can be computed: it takes the fastest that
// applies, tests compare them all. Each returns false, and launches nothing, where it does not
// apply.
#pragma once

#include "cuda/kernels.h"

namespace winnow::cuda {

/// How attention_prefill_sm90() divides its work. The unit is a tile of query rows of one query
/// head; how they are spread over the GPU does not change a bit of the result.
struct PrefillPlan {
  /// One block a multiprocessor, which takes the units allotted to it and fetches the next one's
  /// tiles while it ends the last; otherwise a block for each unit, handed out by the GPU to
  /// whoever is free.
  bool stays = false;
  /// What was summed is brought to a new greatest score only where that is more than 2^slack times
  /// as heavy as the one before; 0 or more, at most 8.
  float slack = 8;
};

/// The plan that attention_prefill() uses.
PrefillPlan prefill_plan(const AttentionArgs& args);

/// On Hopper, for 16-bit types, heads of 64 or 128, 16-byte alignment, more than one row,
/// and no window.
bool attention_prefill_sm90(const AttentionArgs& args, const PrefillPlan& plan, Stream stream);
bool attention_prefill_sm90(const AttentionArgs& args, Stream stream);

/// On tensor cores of any GPU, for 16-bit types, heads of 64 or 128, 16-byte alignment and
/// no window.
bool attention_prefill_mma(const AttentionArgs& args, Stream stream);

/// The two above take no notice of kv.head_window. Where there is one, this writes the outputs of
/// the heads that stream over theirs: each of their queries has few rows. (Better would be not to
/// compute them twice.) For every type and head.
bool attention_prefill_streaming(const AttentionArgs& args, Stream stream);

/// For everything.
bool attention_prefill_plain(const AttentionArgs& args, Stream stream);

}  // namespace winnow::cuda
