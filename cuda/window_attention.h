// The ways in which window_attention() (kernels.h) can be computed: it takes the fastest that
// applies, tests compare them. Each returns false, and launches nothing, where it does not apply.
#pragma once

#include "cuda/kernels.h"

namespace winnow::cuda {

/// What window_attention() is given.
struct WindowArgs {
  const void* queries = nullptr;  // [n, n_heads, head_dim] T
  int64_t n = 0;
  KvRows kv;
  Heads heads;
  DType type = DType::kF32;  // T
  Zones zones;
  WindowSum how = WindowSum::kMean;
  ScoreLists lists;
  void* workspace = nullptr;  // window_attention_workspace_bytes(heads)
};

/// On tensor cores, for 16-bit types, heads of 64 or 128, 16-byte alignment and no window.
bool window_attention_mma(const WindowArgs& args, Stream stream);

/// For everything.
bool window_attention_plain(const WindowArgs& args, Stream stream);

}  // namespace winnow::cuda
