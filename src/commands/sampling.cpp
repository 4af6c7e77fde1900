#include "src/commands/sampling.h"

#include <random>
#include <sstream>

namespace winnow {

SamplerOptions choose_sampler(const SamplerFlags& flags, const SamplingDefaults& model) {
  SamplerOptions sampler;
  const auto choose = [](const auto& flag, const auto& said, auto& field) {
    if (flag) {
      field = *flag;
    } else if (said) {
      field = *said;
    }
  };
  const std::optional<float> temperature =
      model.do_sample ? std::optional(model.temperature.value_or(1.0F)) : std::nullopt;
  choose(flags.temperature, temperature, sampler.temperature);
  choose(flags.top_k, model.top_k, sampler.top_k);
  choose(flags.top_p, model.top_p, sampler.top_p);
  choose(flags.min_p, model.min_p, sampler.min_p);
  choose(flags.repeat_penalty, model.repeat_penalty, sampler.repeat_penalty);
  return sampler;
}

std::string model_sampling(const SamplerFlags& flags, const SamplingDefaults& model) {
  const SamplerOptions chosen = choose_sampler(flags, model);
  const SamplerOptions plain;
  std::ostringstream text;
  const auto tell = [&](const char* name, bool flag, auto value, auto without) {
    if (flag || value == without) return;
    text << (text.view().empty() ? "" : ", ") << name << ' ' << value;
  };
  tell("temperature", flags.temperature.has_value(), chosen.temperature, plain.temperature);
  if (chosen.temperature > 0) {
    tell("top-k", flags.top_k.has_value(), chosen.top_k, plain.top_k);
    tell("top-p", flags.top_p.has_value(), chosen.top_p, plain.top_p);
    tell("min-p", flags.min_p.has_value(), chosen.min_p, plain.min_p);
  }
  tell("repeat penalty", flags.repeat_penalty.has_value(), chosen.repeat_penalty,
       plain.repeat_penalty);
  return text.str();
}

SamplerOptions settle_sampler(const SamplerFlags& flags, const std::optional<uint64_t>& seed,
                              const SamplingDefaults& model, const Console& console) {
  SamplerOptions sampler = choose_sampler(flags, model);
  const std::string said = model_sampling(flags, model);
  if (!said.empty()) console.summary("sampler " + said + " (generation_config.json)");
  if (seed) {
    sampler.seed = *seed;
  } else if (sampler.temperature > 0) {
    std::random_device entropy;
    sampler.seed = (uint64_t{entropy()} << 32) | entropy();
    console.summary("seed    " + std::to_string(sampler.seed));
  }
  return sampler;
}

}  // namespace winnow
