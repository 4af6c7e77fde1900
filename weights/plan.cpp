// Binding: which tensor of the checkpoint fills which rows of which part of the network.
#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "src/base/checked.h"
#include "src/base/error.h"
#include "weights/loader.h"

namespace winnow {
namespace {

constexpr uint64_t kAlignment = 256;

/// A tensor that the network needs, and the part that it belongs to.
struct Wanted {
  std::string name;
  std::vector<uint64_t> shape;
  size_t part = 0;
};

/// A tensor by name and its rows (of a bias: elements), one of those that are stacked in a part.
struct Source {
  std::string name;
  int64_t rows = 0;
};

/// The parts of the network in the order of a token's way, and the tensors that they are made of.
class Layout {
 public:
  explicit Layout(const ModelConfig& config) {
    const int64_t hidden = config.hidden_size;
    matrix("embedding", hidden, {{"model.embed_tokens.weight", config.vocab_size}});
    for (int64_t i = 0; i < config.n_layers; ++i) add_layer(config, std::to_string(i));
    norm("final_norm", hidden, "model.norm.weight");
    if (!config.tied_embeddings) matrix("lm_head", hidden, {{"lm_head.weight", config.vocab_size}});
  }

  std::vector<WeightPart> parts;
  std::vector<Wanted> wanted;

 private:
  void add_layer(const ModelConfig& config, const std::string& i) {
    const std::string part = "layers." + i + ".";
    const std::string attention = "model.layers." + i + ".self_attn.";
    const std::string mlp = "model.layers." + i + ".mlp.";
    const int64_t hidden = config.hidden_size;
    const int64_t inner = config.intermediate_size;

    norm(part + "attention_norm", hidden, "model.layers." + i + ".input_layernorm.weight");
    matrix(part + "qkv", hidden,
           {{attention + "q_proj.weight", config.q_size()},
            {attention + "k_proj.weight", config.kv_size()},
            {attention + "v_proj.weight", config.kv_size()}});
    if (config.qkv_bias) {
      row(PartKind::kBias, part + "qkv_bias",
          {{attention + "q_proj.bias", config.q_size()},
           {attention + "k_proj.bias", config.kv_size()},
           {attention + "v_proj.bias", config.kv_size()}});
    }
    if (config.qk_norm) {
      norm(part + "q_norm", config.head_dim, attention + "q_norm.weight");
      norm(part + "k_norm", config.head_dim, attention + "k_norm.weight");
    }
    matrix(part + "o", config.q_size(), {{attention + "o_proj.weight", hidden}});
    if (config.o_bias) {
      row(PartKind::kBias, part + "o_bias", {{attention + "o_proj.bias", hidden}});
    }
    norm(part + "mlp_norm", hidden, "model.layers." + i + ".post_attention_layernorm.weight");
    matrix(part + "gate_up", hidden,
           {{mlp + "gate_proj.weight", inner}, {mlp + "up_proj.weight", inner}});
    matrix(part + "down", inner, {{mlp + "down_proj.weight", hidden}});
  }

  void matrix(const std::string& name, int64_t cols, const std::vector<Source>& sources) {
    WeightPart part;
    part.name = name;
    part.cols = cols;
    for (const Source& source : sources) {
      part.rows += source.rows;
      const std::vector<uint64_t> shape = {static_cast<uint64_t>(source.rows),
                                           static_cast<uint64_t>(cols)};
      wanted.push_back({source.name, shape, parts.size()});
    }
    parts.push_back(std::move(part));
  }

  void norm(const std::string& name, int64_t size, const std::string& tensor) {
    row(PartKind::kNorm, name, {{tensor, size}});
  }

  void row(PartKind kind, const std::string& name, const std::vector<Source>& sources) {
    WeightPart part;
    part.name = name;
    part.kind = kind;
    part.rows = 1;
    for (const Source& source : sources) {
      part.cols += source.rows;
      wanted.push_back({source.name, {static_cast<uint64_t>(source.rows)}, parts.size()});
    }
    parts.push_back(std::move(part));
  }
};

/// Tensors that a checkpoint may hold and the network does not read.
std::set<std::string> known_extras(const ModelConfig& config) {
  std::set<std::string> names;
  for (int64_t i = 0; i < config.n_layers; ++i) {
    names.insert("model.layers." + std::to_string(i) + ".self_attn.rotary_emb.inv_freq");
  }
  if (config.tied_embeddings) names.insert("lm_head.weight");
  return names;
}

/// "7 missing: 'a', 'b', 'c', 'd', 'e', ..."
std::string list_names(const char* what, const std::vector<std::string>& names) {
  constexpr size_t kShown = 5;
  std::string text = std::to_string(names.size()) + " " + what + ": ";
  for (size_t i = 0; i < std::min(kShown, names.size()); ++i) {
    text += (i == 0 ? "" : ", ") + quoted(names[i]);
  }
  return names.size() > kShown ? text + ", ..." : text;
}

std::string directory_of(const Checkpoint& checkpoint) {
  return checkpoint.files.empty() ? "" : checkpoint.files[0].path().parent_path().string();
}

/// Missing and unexpected names belong together: most often one is a misspelling of the other.
void check_names(const Checkpoint& checkpoint, const ModelConfig& config,
                 const std::vector<Wanted>& wanted) {
  std::set<std::string> expected = known_extras(config);
  std::vector<std::string> missing;
  for (const Wanted& tensor : wanted) {
    expected.insert(tensor.name);
    if (!checkpoint.tensors.contains(tensor.name)) missing.push_back(tensor.name);
  }
  std::vector<std::string> unexpected;
  for (const auto& [name, entry] : checkpoint.tensors) {
    if (!expected.contains(name)) unexpected.push_back(name);
  }
  if (missing.empty() && unexpected.empty()) return;
  std::string text;
  if (!missing.empty()) text = list_names("missing", missing);
  if (!missing.empty() && !unexpected.empty()) text += "; ";
  if (!unexpected.empty()) text += list_names("unexpected", unexpected);
  fail(ExitCode::kModel, directory_of(checkpoint), ": the tensors do not fit config.json: ", text);
}

std::string shape_text(const std::vector<uint64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

/// Where a tensor ends in the memory of its part, whose elements are of `type`.
uint64_t end_of(const Binding& binding, DType type) {
  const TensorInfo& info = binding.source->info;
  return binding.offset + info.bytes / dtype_size(info.type) * dtype_size(type);
}

/// Gives each part its bindings; stacked tensors lie one below the other.
void bind_tensors(const Checkpoint& checkpoint, const std::vector<Wanted>& wanted,
                  std::vector<WeightPart>& parts) {
  const Checkpoint::Entry* first_matrix = nullptr;
  for (const Wanted& tensor : wanted) {
    const Checkpoint::Entry& entry = checkpoint.tensors.at(tensor.name);
    const std::string file = checkpoint.files[entry.file].path().string();
    if (entry.info.shape != tensor.shape) {
      fail(ExitCode::kModel, file, ": tensor ", quoted(tensor.name), " has shape ",
           shape_text(entry.info.shape), ", but config.json asks for ", shape_text(tensor.shape));
    }
    WeightPart& part = parts[tensor.part];
    const bool is_matrix = part.kind == PartKind::kMatrix;
    if (is_matrix && first_matrix == nullptr) first_matrix = &entry;
    if (is_matrix && entry.info.type != first_matrix->info.type) {
      fail(ExitCode::kModel, file, ": tensor ", quoted(tensor.name), " is ",
           dtype_name(entry.info.type), ", but ", quoted(first_matrix->info.name), " is ",
           dtype_name(first_matrix->info.type), "; all matrices must have one type");
    }
    part.type = is_matrix ? entry.info.type : DType::kF32;
    const uint64_t offset = part.bindings.empty() ? 0 : end_of(part.bindings.back(), part.type);
    part.bindings.push_back({&entry, offset});
  }
}

uint64_t total_bytes(const std::vector<WeightPart>& parts) {
  std::optional<uint64_t> total = 0;
  for (const WeightPart& part : parts) {
    const std::optional<uint64_t> padded = checked_round_up(part.bytes(), kAlignment);
    total = padded ? checked_add(*total, *padded) : std::nullopt;
    if (!total) fail(ExitCode::kModel, "the size of the weights overflows 64 bits");
  }
  return *total;
}

}  // namespace

uint64_t WeightPart::bytes() const {
  const std::optional<uint64_t> bytes =
      checked_mul(static_cast<uint64_t>(rows), static_cast<uint64_t>(cols),
                  kind == PartKind::kMatrix ? dtype_size(type) : uint64_t{sizeof(float)});
  if (!bytes) fail(ExitCode::kModel, "the size of ", name, " overflows 64 bits");
  return *bytes;
}

WeightPlan plan_weights(const Checkpoint& checkpoint, const ModelConfig& config) {
  Layout layout(config);
  check_names(checkpoint, config, layout.wanted);
  bind_tensors(checkpoint, layout.wanted, layout.parts);

  WeightPlan plan;
  plan.parts = std::move(layout.parts);
  plan.type = plan.parts.front().type;
  plan.bytes = total_bytes(plan.parts);
  if (config.tied_embeddings && checkpoint.tensors.contains("lm_head.weight")) {
    plan.notes.push_back(
        "lm_head.weight is not read: tie_word_embeddings says that it is the embedding");
  }
  return plan;
}

WeightPlan plan_unbound(const ModelConfig& config, DType type) {
  WeightPlan plan;
  plan.parts = Layout(config).parts;
  for (WeightPart& part : plan.parts) part.type = type;
  plan.type = type;
  plan.bytes = total_bytes(plan.parts);
  return plan;
}

}  // namespace winnow
