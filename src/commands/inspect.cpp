// winnow inspect: what a model is, what its files hold, and what memory a run would take.
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "src/base/format_bytes.h"
#include "src/cli/output.h"
#include "src/commands/commands.h"
#include "src/commands/session.h"
#include "src/cpu/cpu_device.h"
#include "src/kv/store.h"

namespace winnow {
namespace {

using OrderedJson = nlohmann::ordered_json;

const char* rope_name(RopeType type) {
  switch (type) {
    case RopeType::kDefault: return "default";
    case RopeType::kLinear: return "linear";
    case RopeType::kDynamic: return "dynamic";
    case RopeType::kYarn: return "yarn";
    case RopeType::kLlama3: return "llama3";
  }
  return "";
}

OrderedJson config_json(const ModelConfig& c) {
  return {{"hidden_size", c.hidden_size},
          {"intermediate_size", c.intermediate_size},
          {"num_hidden_layers", c.n_layers},
          {"num_attention_heads", c.n_heads},
          {"num_key_value_heads", c.n_kv_heads},
          {"head_dim", c.head_dim},
          {"vocab_size", c.vocab_size},
          {"max_position_embeddings", c.max_positions},
          {"rms_norm_eps", c.rms_norm_eps},
          {"rope_theta", c.rope_theta},
          {"rope_type", rope_name(c.rope.type)},
          {"rope_factor", c.rope.factor},
          {"sliding_window", c.window > 0 ? OrderedJson(c.window) : OrderedJson()},
          {"qkv_bias", c.qkv_bias},
          {"o_bias", c.o_bias},
          {"qk_norm", c.qk_norm},
          {"tie_word_embeddings", c.tied_embeddings}};
}

OrderedJson tensors_json(const Checkpoint& checkpoint) {
  OrderedJson json = OrderedJson::array();
  for (const auto& [name, entry] : checkpoint.tensors) {
    json.push_back({{"name", name},
                    {"dtype", dtype_name(entry.info.type)},
                    {"shape", entry.info.shape},
                    {"bytes", entry.info.bytes},
                    {"file", checkpoint.files[entry.file].path().filename().string()}});
  }
  return json;
}

/// The plan for a context of `tokens`, filled by one prompt.
OrderedJson memory_json(const ModelFiles& files, const Device& device, int64_t tokens) {
  RunShape shape;
  shape.capacity = shape.prompt_tokens = tokens;
  const MemoryPlan plan = plan_memory(files, device, shape);
  const uint64_t row_bytes = KvStore::row_bytes(files.config, device.compute_type());
  const auto heads = static_cast<uint64_t>(files.config.n_layers * files.config.n_kv_heads);
  return {{"device", device.name()},
          {"context", tokens},
          {"weights", plan.weights},
          {"kv", plan.kv},
          {"kv_per_token", heads * row_bytes},
          {"scratch", plan.scratch},
          {"total", plan.total()},
          {"available", device.available_bytes()}};
}

std::string scalar(const OrderedJson& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

/// The same as text: a table a part.
std::string as_text(const OrderedJson& json) {
  std::string text = "config\n";
  const auto row = [&](const std::string& name, const std::string& value) {
    char line[512];
    std::snprintf(line, sizeof(line), "  %-26s %s\n", name.c_str(), value.c_str());
    text += line;
  };
  for (const auto& [key, value] : json["config"].items()) row(key, scalar(value));
  row("stop tokens", json["stop_ids"].dump());
  text += "\ntensors\n";
  for (const OrderedJson& tensor : json["tensors"]) {
    char line[512];
    std::snprintf(line, sizeof(line), "  %-4s %-16s %10s  %s\n", scalar(tensor["dtype"]).c_str(),
                  tensor["shape"].dump().c_str(),
                  format_bytes(tensor["bytes"].get<uint64_t>()).c_str(),
                  quoted(scalar(tensor["name"])).c_str());
    text += line;
  }
  const OrderedJson& memory = json["memory"];
  text += "\nmemory on " + scalar(memory["device"]) + ", context of " + memory["context"].dump() +
          " tokens\n";
  for (const char* key : {"weights", "kv", "kv_per_token", "scratch", "total", "available"}) {
    row(key, format_bytes(memory[key].get<uint64_t>()));
  }
  return text;
}

}  // namespace

ExitCode run_inspect(const InspectOptions& options) {
  const Console console(options.model);
  const ModelFiles files = noted(open_network(options.model.dir), console);
  const int64_t context = context_size(files.config, options.context, console);
  const auto device = make_cpu_device(files.config, 0);
  OrderedJson json;
  json["config"] = config_json(files.config);
  json["stop_ids"] = files.stop_ids;
  json["tensors"] = tensors_json(files.checkpoint);
  json["memory"] = memory_json(files, *device, context);
  Output({}).write(options.format == Format::kJson ? json.dump(2) + "\n" : as_text(json));
  return ExitCode::kOk;
}

}  // namespace winnow
