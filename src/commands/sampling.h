// How tokens are drawn: by the user's flags, and where they are silent by generation_config.json.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "src/cli/console.h"
#include "src/cli/options.h"
#include "src/sampler.h"
#include "weights/config.h"

namespace winnow {

/// The flags; what they leave open as the model says, or else greedy without any filter. do_sample
/// counts as transformers counts it: without it the model's temperature is not used. The seed is 0.
SamplerOptions choose_sampler(const SamplerFlags& flags, const SamplingDefaults& model);

/// What of the choice comes from the model and has an effect, for stderr: "temperature 0.6, top-p
/// 0.9"; empty where that is nothing.
std::string model_sampling(const SamplerFlags& flags, const SamplingDefaults& model);

/// The choice with `seed`, or where there is none and chance has a say with one that is drawn.
/// Tells the user what comes from the model, and the seed that was drawn.
SamplerOptions settle_sampler(const SamplerFlags& flags, const std::optional<uint64_t>& seed,
                              const SamplingDefaults& model, const Console& console);

}  // namespace winnow
