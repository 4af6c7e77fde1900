#include "tokenizer/bpe_files.h"

#include "src/base/error.h"
#include "src/base/json.h"
#include "tokenizer/json_fields.h"
#include "tokenizer/split_patterns.h"

namespace winnow {
namespace {

void read_vocab(const NamedText& file, BpeVocabulary& vocabulary) {
  const Json json = parse_json(file.text, file.name);
  const JsonFields fields(json, file.name);
  for (const auto& [text, id] : json.get_ref<const Json::object_t&>()) {
    vocabulary.add_piece(text, fields.integer(text));
  }
}

void read_merges(const NamedText& file, BpeVocabulary& vocabulary) {
  std::string_view rest = file.text;
  for (size_t line_number = 1; !rest.empty(); ++line_number) {
    const size_t newline = rest.find('\n');
    const std::string_view line = rest.substr(0, newline);
    rest.remove_prefix(newline == std::string_view::npos ? rest.size() : newline + 1);
    if (line.empty() || (line_number == 1 && line.starts_with("#version"))) continue;
    const size_t space = line.find(' ');
    if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
      fail(ExitCode::kModel, file.name, ":", line_number, ": ", quoted(line),
           " is not two pieces and a space between them");
    }
    vocabulary.add_merge(line.substr(0, space), line.substr(space + 1), file.name);
  }
}

enum class Family { kGpt2, kQwen2 };

Family family_of(const TokenizerConfig& config) {
  const std::string name = config.tokenizer_class();
  if (name.empty() || name == "GPT2Tokenizer" || name == "GPT2TokenizerFast") return Family::kGpt2;
  if (name == "Qwen2Tokenizer" || name == "Qwen2TokenizerFast") return Family::kQwen2;
  config.reject("tokenizer_class ", quoted(name), " is not supported for vocab.json; ",
                "GPT2Tokenizer and Qwen2Tokenizer are, and tokenizer.json is for others");
}

}  // namespace

BpeModel parse_bpe_files(const NamedText& vocab, const NamedText& merges,
                         const TokenizerConfig& config) {
  constexpr std::string_view kEndOfText = "<|endoftext|>";
  const Family family = family_of(config);
  BpeModel model{.vocabulary = BpeVocabulary(vocab.name)};
  read_vocab(vocab, model.vocabulary);
  read_merges(merges, model.vocabulary);
  for (AddedToken& token : config.added_tokens()) model.vocabulary.add_token(token);
  model.vocabulary.make_control(kEndOfText);  // is one in both, whether it is said or not
  if (family == Family::kGpt2) {
    model.split_patterns = {std::string(kGpt2Pattern)};
    model.bos = model.vocabulary.find(kEndOfText);
  } else {
    model.split_patterns = {std::string(kQwen2Pattern)};
    model.nfc = true;
  }
  model.vocabulary.check_complete();
  return model;
}

}  // namespace winnow
