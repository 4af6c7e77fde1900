// The ways in which value_norms() (kernels.h) can compute kOutput and kOutputL1: it takes the
// fastest that applies, tests compare them. Each returns false, and launches nothing, where it does
// not apply.
#pragma once

#include "cuda/kernels.h"

namespace winnow::cuda {

/// What value_norms() is given.
struct NormArgs {
  LayerWeights w;
  KvRows kv;
  Heads heads;
  DType type = DType::kF32;  // T
  Zones zones;
  ValueNorm how = ValueNorm::kOutput;
  ScoreLists lists;
};

/// On tensor cores, for 16-bit types, heads of 64 or 128, 16-byte alignment and, for kOutputL1,
/// weights of T.
bool value_norms_mma(const NormArgs& args, Stream stream);

/// For everything.
bool value_norms_plain(const NormArgs& args, Stream stream);

}  // namespace winnow::cuda
