#include "tokenizer/tokenizer_config.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "src/base/error.h"
#include "src/base/file.h"

namespace winnow {
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;

constexpr std::array<std::string_view, 7> kNamedTokens = {
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

/// What `value` names: itself, or its content where it is an added token.
std::string content_of(const JsonFields& fields, std::string_view key, const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_object()) fields.wrong_type(key, value, "a string or an added token");
  return fields.inner(value, key).text("content");
}

/// The id that `key` of added_tokens_decoder spells.
int64_t id_of(const JsonFields& fields, std::string_view key) {
  int64_t id = 0;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
  if (error != std::errc() || end != key.data() + key.size()) {
    fields.reject("added_tokens_decoder: ", quoted(key), " is no token id");
  }
  return id;
}

/// The id of the control token `content`, if it is one.
std::optional<int32_t> control_token(const BpeModel& model, std::string_view content) {
  const AddedToken* token = model.vocabulary.find_token(content);
  return token != nullptr && token->special ? std::optional(token->id) : std::nullopt;
}

/// What `config` says under `key`, else `before`, else the first of `customary` that is there.
std::optional<int32_t> settled(const TokenizerConfig& config, std::string_view key,
                               std::optional<int32_t> before, const BpeModel& model,
                               std::initializer_list<std::string_view> customary) {
  const std::string name = config.named_token(key);
  if (!name.empty()) {
    const std::optional<int32_t> id = model.vocabulary.find(name);
    if (!id) config.reject(key, " ", quoted(name), " is no token of ", model.vocabulary.name());
    return id;
  }
  for (const std::string_view content : customary) {
    if (!before) before = control_token(model, content);
  }
  return before;
}

}  // namespace

TokenizerConfig::TokenizerConfig(const std::filesystem::path& dir)
    : name_((dir / "tokenizer_config.json").string()) {
  if (!path_exists(name_)) return;
  root_ = parse_json(read_model_file(name_, kMaxConfigBytes), name_);
  fields();  // refuses what is no object
}

std::optional<bool> TokenizerConfig::adds_bos() const {
  if (fields().find("add_bos_token") == nullptr) return std::nullopt;
  return fields().flag_or("add_bos_token", false);
}

std::string TokenizerConfig::tokenizer_class() const {
  return fields().text_or("tokenizer_class", "");
}

std::vector<AddedToken> TokenizerConfig::added_tokens() const {
  std::vector<AddedToken> tokens;
  if (fields().find("added_tokens_decoder") == nullptr) return tokens;
  const JsonFields decoder = fields().object("added_tokens_decoder");
  for (const auto& [key, value] : fields().members("added_tokens_decoder")) {
    tokens.push_back(read_added_token(decoder.inner(value, key), id_of(fields(), key)));
  }
  return tokens;
}

std::string TokenizerConfig::named_token(std::string_view key) const {
  const Json* value = fields().find(key);
  return value == nullptr ? std::string() : content_of(fields(), key, *value);
}

std::vector<std::string> TokenizerConfig::named_tokens() const {
  std::vector<std::string> names;
  for (const std::string_view key : kNamedTokens) {
    std::string name = named_token(key);
    if (!name.empty()) names.push_back(std::move(name));
  }
  constexpr std::string_view kMore = "additional_special_tokens";
  if (fields().find(kMore) == nullptr) return names;
  for (const Json& value : fields().array(kMore)) {
    names.push_back(content_of(fields(), kMore, value));
  }
  return names;
}

AddedToken read_added_token(const JsonFields& fields, int64_t id) {
  constexpr int64_t kMaxId = INT32_MAX;
  if (id < 0 || id > kMaxId) fields.reject("the id ", id, " is out of range");
  AddedToken token;
  token.content = fields.text("content");
  token.id = static_cast<int32_t>(id);
  token.special = fields.flag_or("special", false);
  token.single_word = fields.flag_or("single_word", false);
  token.lstrip = fields.flag_or("lstrip", false);
  token.rstrip = fields.flag_or("rstrip", false);
  token.normalized = fields.flag_or("normalized", !token.special);
  return token;
}

void settle_control_tokens(const TokenizerConfig& config, BpeModel& model) {
  for (const std::string& name : config.named_tokens()) model.vocabulary.make_control(name);
  model.bos = settled(config, "bos_token", model.bos, model, {"<|begin_of_text|>"});
  model.eos = settled(config, "eos_token", model.eos, model, {"<|end_of_text|>", "<|endoftext|>"});
  model.adds_bos = config.adds_bos().value_or(model.adds_bos);
  if (model.adds_bos && !model.bos) {
    config.reject("add_bos_token is true, but ", model.vocabulary.name(), " has no bos token");
  }
  if (model.eos) model.stop_ids.push_back(*model.eos);
  for (const std::string_view name : {"<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"}) {
    const std::optional<int32_t> id = control_token(model, name);
    if (id && std::ranges::count(model.stop_ids, *id) == 0) model.stop_ids.push_back(*id);
  }
}

}  // namespace winnow
