#include "src/random_model.h"

#include <cmath>
#include <string>
#include <vector>

#include "src/base/error.h"
#include "src/base/file.h"
#include "src/base/json.h"

namespace winnow {
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 20;
constexpr float kBiasScale = 0.02F;

DType named_type(const Json& config, const std::string& file) {
  const char* const key = config.contains("dtype") ? "dtype" : "torch_dtype";
  const Json name = config.value(key, Json("bfloat16"));
  if (name == "float32") return DType::kF32;
  if (name == "float16") return DType::kF16;
  if (name == "bfloat16") return DType::kBF16;
  fail(ExitCode::kModel, file, ": ", key, " ", quoted(name.dump()), " is not supported");
}

}  // namespace

ShapePlan read_shape(const std::filesystem::path& file) {
  const std::string text = read_model_file(file, kMaxConfigBytes);
  ShapePlan shape;
  shape.config = parse_config(text, file.string());
  const DType type = named_type(parse_json(text, file.string()), file.string());
  shape.plan = plan_unbound(shape.config, type);
  return shape;
}

ModelWeights draw_weights(const ModelConfig& config, const WeightPlan& plan, Device& device) {
  std::vector<void*> memory;
  for (const WeightPart& part : plan.parts) {
    memory.push_back(device.allocate(part.name, part.bytes()));
    if (part.kind == PartKind::kNorm) {
      const std::vector<float> ones(static_cast<size_t>(part.cols), 1.0F);
      device.write(memory.back(), ones.data(), part.bytes());
      continue;
    }
    const auto n = static_cast<uint64_t>(part.rows) * static_cast<uint64_t>(part.cols);
    const bool is_matrix = part.kind == PartKind::kMatrix;
    const float scale = is_matrix ? 1.0F / std::sqrt(static_cast<float>(part.cols)) : kBiasScale;
    device.fill_random(memory.back(), is_matrix ? part.type : DType::kF32, n, memory.size(), scale);
  }
  device.finish();
  return arrange_weights(plan, config, memory);
}

}  // namespace winnow
