// tokenizer_config.json: what a model's makers say about its tokenizer beside the vocabulary.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "src/base/json.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe_model.h"
#include "tokenizer/json_fields.h"

namespace winnow {

/// Each function reads what it is asked for, and fails with kModel where that is malformed; nobody
/// is refused for what is not used.
class TokenizerConfig {
 public:
  /// That of a model directory; one that says nothing where there is none.
  explicit TokenizerConfig(const std::filesystem::path& dir);

  /// `add_bos_token`: whether a text opens with BOS.
  std::optional<bool> adds_bos() const;

  /// `tokenizer_class`; empty where it is not said.
  std::string tokenizer_class() const;

  /// `added_tokens_decoder`: added tokens by their ids.
  std::vector<AddedToken> added_tokens() const;

  /// The token that `key`, such as eos_token, names; empty where it names none.
  std::string named_token(std::string_view key) const;

  /// All tokens that are named for a purpose: bos_token, pad_token, additional_special_tokens, ...
  std::vector<std::string> named_tokens() const;

  /// Fails with kModel: "FILE: parts".
  template <class... Parts>
  [[noreturn]] void reject(const Parts&... parts) const {
    fail(ExitCode::kModel, name_, ": ", parts...);
  }

 private:
  JsonFields fields() const { return {root_, name_}; }

  std::string name_;
  Json root_ = Json::object();
};

/// An added token as both tokenizer.json and tokenizer_config.json write it, but for its id.
AddedToken read_added_token(const JsonFields& fields, int64_t id);

/// Settles what opens and what ends a text: what `config` says; else what `model` said before; else
/// what tokens of these names say, <|begin_of_text|>, <|end_of_text|>, <|endoftext|>. Tokens that
/// `config` names become control tokens. Fails with kModel where it names a BOS or EOS that is no
/// token, or wants a BOS where there is none.
void settle_control_tokens(const TokenizerConfig& config, BpeModel& model);

}  // namespace winnow
