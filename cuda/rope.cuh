// The rotation of one pair of elements of a head, for every kernel that rotates.
//
//   a head   | 0 .. half-1 | half .. head_dim-1 |      pair i: (x[i], x[half + i])
//
//   y[i]        = x[i] cos - x[half + i] sin       angle = position * frequency[i]
//   y[half + i] = x[half + i] cos + x[i] sin
//
// cos and sin are multiplied by the frequencies' scale. All of it is made on the host (src/rope.h),
// except in decode steps whose frequencies depend on the length of the text.
#pragma once

#include "cuda/kernels.h"
#include "cuda/types.cuh"

namespace winnow::cuda {

template <class T>
struct Pair {
  T low;   // element i
  T high;  // element half + i
};

template <class To, class From>
__device__ inline Pair<To> convert(Pair<From> x) {
  return {from_float<To>(to_float(x.low)), from_float<To>(to_float(x.high))};
}

/// The frequency of pair i for a token at `place`, which is the last of the text.
/// kGrows: frequencies.dynamic is set; see src/rope.h for the formula.
template <bool kGrows>
__device__ float frequency_at(const RopeFrequencies& frequencies, int i, int32_t place,
                              int head_dim) {
  if constexpr (kGrows) {
    const DynamicTheta& rope = frequencies.dynamic;
    if (place < rope.positions) return frequencies.value[i];
    const double times = (place + 1.0) / static_cast<double>(rope.positions);
    const double growth = rope.factor * times - (rope.factor - 1);
    const double theta = rope.theta * pow(growth, head_dim / (head_dim - 2.0));
    return static_cast<float>(1 / pow(theta, 2.0 * i / head_dim));
  } else {
    return frequencies.value[i];
  }
}

struct Rotation {
  float sine;
  float cosine;
};

/// scale: that of the frequencies.
__device__ inline Rotation rotation_at(int32_t position, float frequency, float scale) {
  Rotation rotation{};
  sincosf(static_cast<float>(position) * frequency, &rotation.sine, &rotation.cosine);
  return {rotation.sine * scale, rotation.cosine * scale};
}

/// The formula above. Which product is rounded by itself is said, so that every kernel that this
/// becomes part of gives the same bits.
__device__ inline Pair<float> rotate(Pair<float> x, Rotation by) {
  return {__fmaf_rn(x.low, by.cosine, -__fmul_rn(x.high, by.sine)),
          __fmaf_rn(x.high, by.cosine, __fmul_rn(x.low, by.sine))};
}

__device__ inline Pair<float> rotate(Pair<float> x, int32_t position, float frequency,
                                     float scale) {
  return rotate(x, rotation_at(position, frequency, scale));
}

/// head [head_dim]
template <class T>
__device__ inline Pair<float> load_pair(const T* head, int half, int i) {
  return {to_float(head[i]), to_float(head[half + i])};
}

/// head [head_dim]
template <class T>
__device__ void store_pair(T* head, int half, int i, Pair<T> pair) {
  head[i] = pair.low;
  head[half + i] = pair.high;
}

}  // namespace winnow::cuda
