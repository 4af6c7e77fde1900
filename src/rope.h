// The frequencies of rotary positions: by how much of an angle each pair of a head turns from one
// place in the text to the next.
//
//   default    f_i = theta^(-2i / d)                              d = head_dim, i < d / 2
//   linear     f_i / factor                                       (places are counted in steps of
//                                                                 1 / factor)
//   dynamic    theta grows with the text once it is longer than the L tokens of the training:
//              theta' = theta (factor n / L - (factor - 1))^(d / (d - 2))     n tokens in the text
//   yarn       f_i (1 - r_i) + f_i / factor r_i; r_i goes from 0 to 1 between the pairs that turn
//              beta_fast and beta_slow times in L tokens          (arXiv 2309.00071)
//   llama3     f_i / factor for pairs that turn less than low_freq_factor times in L tokens,
//              f_i for those that turn more than high_freq_factor times, a blend between
//
// Powers and products are rounded to fp32 where transformers rounds them: at long positions the
// rounding is part of what the weights have learned.
//
// dynamic and the cache: rows are stored rotated, and are never rotated again. A prompt is rotated
// for its length (with what stands before it), the token of a decode step for the length that it
// makes; rows that are there stay as they are. This is what transformers computes with its cache.
#pragma once

#include <cstdint>

#include "weights/config.h"

namespace winnow {

/// Where frequencies depend on the length of the text, which only the device knows in a decode
/// step. Handed to kernels by value.
struct DynamicTheta {
  double theta = 0;
  double factor = 1;
  int64_t positions = 0;  // L; 0: frequencies do not depend on the length
};

/// What a rotation needs: y = rotate(x, place * value[i]) * scale for pair i.
struct RopeFrequencies {
  float value[kMaxHeadDim / 2] = {};  // [head_dim / 2]
  float scale = 1;                    // of cosines and sines: yarn's attention factor
  DynamicTheta dynamic = {};          // a token at place p >= L: for a text of p + 1 tokens
};

/// For a pass after which the text has `n_tokens` tokens, or for any decode step where that is 0.
RopeFrequencies rope_frequencies(const ModelConfig& config, int64_t n_tokens);

/// The mean over places of what rotate() does to pair i:
///   y[i] = x[i] cosine[i] - x[half + i] sine[i]    y[half + i] = x[half + i] cosine[i] + x[i]
///   sine[i]
/// Pairs that turn fast come out near 0. Handed to kernels by value.
struct MeanRotation {
  float cosine[kMaxHeadDim / 2] = {};  // [head_dim / 2], times the frequencies' scale
  float sine[kMaxHeadDim / 2] = {};
};

/// Over the places [position, position + n), n at least 1.
MeanRotation mean_rotation(const RopeFrequencies& frequencies, int64_t head_dim, int64_t position,
                           int64_t n);

/// Without any scaling.
RopeFrequencies rope_frequencies(double theta, int64_t head_dim);

}  // namespace winnow
