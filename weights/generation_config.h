// generation_config.json: how the model's makers would have texts written.
#pragma once

#include <filesystem>

#include "weights/config.h"

namespace winnow {

/// Puts the stop tokens and the sampling that the file names into `config`. What is never used
/// (num_beams, max_length, ...) is not looked at. Fails with kModel for values out of range.
void read_generation_config(const std::filesystem::path& path, ModelConfig& config);

}  // namespace winnow
