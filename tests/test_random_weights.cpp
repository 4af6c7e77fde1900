// Networks of random weights: every part is filled, the same each time, and results are finite.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "src/cpu/ops.h"
#include "tests/support/loaded_model.h"
#include "tests/support/numbers.h"

using namespace winnow;
using namespace winnow::test;

namespace {

Model random_model(const TinyModel& shape, const char* torch_dtype) {
  const TempDir dir;
  const std::string type = std::string(R"(,"torch_dtype":")") + torch_dtype + "\"";
  write_file(dir / "shape.json", tiny_config_json(shape, type));
  const ModelFiles files = open_shape(dir / "shape.json");
  const RunShape run{.capacity = 64, .prompt_tokens = 64, .extra_scratch = uint64_t{1} << 20};
  return load_model(files, make_cpu_device(files.config, 2), run, {});
}

}  // namespace

TEST_CASE("random numbers have mean 0 and the deviation asked for, in every type") {
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    constexpr size_t kCount = 200'001;
    double sum = 0, squares = 0;
    with_dtype(type, [&]<class T>(const T*) {
      std::vector<T> stored(kCount);
      cpu::fill_random(stored.data(), type, kCount, 5, 0.02F);
      for (const T value : stored) {
        sum += to_float(value);
        squares += double{to_float(value)} * to_float(value);
      }
    });
    CHECK(std::fabs(sum / kCount) < 3e-4);
    CHECK(std::sqrt(squares / kCount) == doctest::Approx(0.02).epsilon(0.01));
  }
}

TEST_CASE("a network of random weights has the type of its shape file and finite logits") {
  const std::pair<const char*, DType> types[] = {
      {"float32", DType::kF32}, {"float16", DType::kF16}, {"bfloat16", DType::kBF16}};
  for (const auto& [name, type] : types) {
    const TinyModel shape{.n_layers = 9, .tied = type == DType::kF16};
    const Model model = random_model(shape, name);
    CHECK(model.weights.lm_head.type == type);
    CHECK((model.weights.lm_head.data == model.weights.embedding.data) == shape.tied);
    const std::vector<int32_t> tokens = random_tokens(20, shape.vocab_size, 1);
    const std::vector<float> logits = all_logits(model, tokens);
    double squares = 0;
    for (const float logit : logits) squares += double{logit} * logit;
    const double rms = std::sqrt(squares / static_cast<double>(logits.size()));
    CHECK(rms > 0.1);
    CHECK(rms < 10);
    CHECK(max_difference(all_logits(random_model(shape, name), tokens), logits) == 0);
  }
}

TEST_CASE("the shapes that are shipped have as many weights as the models they are named for") {
  const auto bytes = [](const std::string& name) {
    return static_cast<double>(open_shape("tools/shapes/" + name + ".json").plan.bytes);
  };
  CHECK(bytes("llama-3.1-8b") == doctest::Approx(2 * 8.030e9).epsilon(1e-3));
  CHECK(bytes("llama-3.2-1b") == doctest::Approx(2 * 1.236e9).epsilon(1e-3));
  CHECK(bytes("qwen2.5-7b") == doctest::Approx(2 * 7.616e9).epsilon(1e-3));
}
