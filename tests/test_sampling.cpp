// How tokens are drawn: the user's flags over generation_config.json over greedy.
#include <doctest/doctest.h>

#include "src/commands/sampling.h"

using namespace winnow;

namespace {

SamplingDefaults model_defaults() {
  SamplingDefaults model;
  model.do_sample = true;
  model.temperature = 0.6F;
  model.top_k = 20;
  model.top_p = 0.9F;
  model.repeat_penalty = 1.1F;
  return model;
}

const SamplingDefaults kModel = model_defaults();

SamplerFlags with_temperature(float temperature) {
  SamplerFlags flags;
  flags.temperature = temperature;
  return flags;
}

}  // namespace

TEST_CASE("sampling: without flags as the model says, without either greedy") {
  const SamplerOptions plain = choose_sampler({}, {});
  CHECK(plain.temperature == 0);
  CHECK(plain.top_k == 0);
  CHECK(plain.top_p == 1);
  CHECK(plain.repeat_penalty == 1);
  CHECK(model_sampling({}, {}).empty());
  const SamplerOptions drawn = choose_sampler({}, kModel);
  CHECK(drawn.temperature == 0.6F);
  CHECK(drawn.top_k == 20);
  CHECK(drawn.top_p == 0.9F);
  CHECK(drawn.min_p == 0);
  CHECK(drawn.repeat_penalty == 1.1F);
  CHECK(model_sampling({}, kModel) == "temperature 0.6, top-k 20, top-p 0.9, repeat penalty 1.1");
}

TEST_CASE("sampling: a flag overrules its own key alone") {
  SamplerFlags flags = with_temperature(1.5F);
  flags.top_p = 1.0F;
  const SamplerOptions sampler = choose_sampler(flags, kModel);
  CHECK(sampler.temperature == 1.5F);
  CHECK(sampler.top_k == 20);
  CHECK(sampler.top_p == 1);
  CHECK(model_sampling(flags, kModel) == "top-k 20, repeat penalty 1.1");
  CHECK(model_sampling(with_temperature(0), kModel) == "repeat penalty 1.1");
  const SamplerFlags all{
      .temperature = 0.0F, .top_k = 1, .top_p = 1.0F, .min_p = 0.0F, .repeat_penalty = 1.0F};
  CHECK(model_sampling(all, kModel).empty());
  CHECK(choose_sampler(all, kModel).repeat_penalty == 1);
}

TEST_CASE("sampling: do_sample decides whether the model's temperature counts") {
  SamplingDefaults model = kModel;
  model.do_sample = false;
  CHECK(choose_sampler({}, model).temperature == 0);
  CHECK(choose_sampler(with_temperature(1), model).top_k == 20);
  CHECK(model_sampling({}, model) == "repeat penalty 1.1");
  model = {};
  model.do_sample = true;
  CHECK(choose_sampler({}, model).temperature == 1);
}
