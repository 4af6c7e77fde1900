// The rotation of one pair of elements of a head, for every kernel that rotates.
//
//   a head   | 0 .. half-1 | half .. head_dim-1 |      pair i: (x[i], x[half + i])
//
//   y[i]        = x[i] cos - x[half + i] sin       angle = position * theta^(-2i / head_dim)
//   y[half + i] = x[half + i] cos + x[i] sin
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

struct Rotation {
  float sine;
  float cosine;
};

__device__ inline Rotation rotation_at(int32_t position, float frequency) {
  Rotation rotation{};
  sincosf(static_cast<float>(position) * frequency, &rotation.sine, &rotation.cosine);
  return rotation;
}

/// The formula above. Which product is rounded by itself is said, so that every kernel that this
/// becomes part of gives the same bits.
__device__ inline Pair<float> rotate(Pair<float> x, Rotation by) {
  return {__fmaf_rn(x.low, by.cosine, -__fmul_rn(x.high, by.sine)),
          __fmaf_rn(x.high, by.cosine, __fmul_rn(x.low, by.sine))};
}

__device__ inline Pair<float> rotate(Pair<float> x, int32_t position, float frequency) {
  return rotate(x, rotation_at(position, frequency));
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
