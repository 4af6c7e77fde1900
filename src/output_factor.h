// How large a value is once it was multiplied with its head's part of the output matrix, without
// multiplying it: LayerWeights::o_factor.
//
//   ||v W_O||^2 = v W_O W_O^T v^T = v (R R^T) v^T = ||v R||^2
//
//   W_O [head_dim, hidden_size]      of one query head
//   R   [head_dim, head_dim]         the Cholesky factor of W_O W_O^T: hidden_size / head_dim times
//                                    fewer products for the same norm
#pragma once

#include <cstdint>
#include <span>

#include "src/device.h"
#include "weights/config.h"
#include "weights/model.h"

namespace winnow {

/// Bytes that make_output_factors takes of a device's weights.
uint64_t output_factor_bytes(const ModelConfig& config);

/// Computes o_factor of every layer, once the weights are there.
void make_output_factors(const ModelConfig& config, Device& device, ModelWeights& weights);

/// gram [n, n], symmetric and positive semidefinite, becomes the lower triangle R with R R^T =
/// gram, zeros above it. A column whose pivot is within rounding of 0 is left zero.
void factor_gram(std::span<float> gram, int64_t n);

}  // namespace winnow
