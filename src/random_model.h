// A network of a given shape with random weights: for timing what is not at hand.
#pragma once

#include <filesystem>

#include "src/device.h"
#include "weights/config.h"
#include "weights/loader.h"

namespace winnow {

/// The plan of a network whose shape the config.json `file` describes, in the type that its
/// torch_dtype names (BF16 where it names none). Fails like parse_config.
struct ShapePlan {
  ModelConfig config;
  WeightPlan plan;
};
ShapePlan read_shape(const std::filesystem::path& file);

/// Fills the network's memory: matrices that keep the size of what they multiply, norms of 1.
ModelWeights draw_weights(const ModelConfig& config, const WeightPlan& plan, Device& device);

}  // namespace winnow
