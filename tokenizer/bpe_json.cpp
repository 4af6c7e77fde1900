#include "tokenizer/bpe_json.h"

#include <string>
#include <utility>
#include <vector>

#include "src/base/json.h"
#include "tokenizer/json_fields.h"
#include "tokenizer/split_patterns.h"
#include "tokenizer/tokenizer_config.h"

namespace winnow {
namespace {

void append_parts(const JsonFields& part, std::string_view list, std::vector<JsonFields>& parts) {
  if (part.text("type") != "Sequence") {
    parts.push_back(part);
    return;
  }
  for (const JsonFields& inner : part.objects(list)) append_parts(inner, list, parts);
}

/// What `key` is made of: nothing where it is null, the elements of a Sequence, which it holds as
/// `list`, or itself.
std::vector<JsonFields> parts_of(const JsonFields& root, std::string_view key,
                                 std::string_view list) {
  std::vector<JsonFields> parts;
  if (root.find(key) != nullptr) append_parts(root.object(key), list, parts);
  return parts;
}

/// `key` must be null or empty; there is `what` otherwise.
void refuse_text(const JsonFields& model, std::string_view key) {
  const std::string text = model.text_or(key, "");
  if (!text.empty()) model.reject(key, " ", quoted(text), " is not supported");
}

void refuse_unsupported(const JsonFields& model) {
  // Files of the first years do not say the type of a model, but only BPE has merges.
  const std::string type = model.text_or("type", model.find("merges") != nullptr ? "BPE" : "none");
  if (type != "BPE") model.reject("type ", quoted(type), " is not supported; only BPE is");
  if (model.flag_or("byte_fallback", false)) {
    model.reject("byte_fallback: these are pieces of sentencepiece; tokenizer.model is needed");
  }
  refuse_text(model, "continuing_subword_prefix");
  refuse_text(model, "end_of_word_suffix");
  const Json* dropout = model.find("dropout");
  if (dropout != nullptr && (!dropout->is_number() || dropout->get<double>() != 0)) {
    model.reject("dropout is not supported");
  }
}

void read_vocab(const JsonFields& model, BpeVocabulary& vocabulary) {
  const JsonFields vocab = model.object("vocab");
  for (const auto& [text, id] : model.members("vocab")) {
    vocabulary.add_piece(text, vocab.integer(text));
  }
}

void read_merge(const JsonFields& model, const Json& merge, bool in_pairs,
                BpeVocabulary& vocabulary) {
  const auto reject = [&](std::string_view expected) {
    model.reject("merges[", vocabulary.merges().size(), "] is not ", expected);
  };
  if (in_pairs) {
    const bool is_pair =
        merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string();
    if (!is_pair) reject("a pair of strings");
    vocabulary.add_merge(merge[0].get_ref<const std::string&>(),
                         merge[1].get_ref<const std::string&>(), vocabulary.name());
    return;
  }
  if (!merge.is_string()) reject("a string");
  const std::string_view text = merge.get_ref<const std::string&>();
  const size_t space = text.find(' ');
  if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
    reject("two pieces and a space between them");
  }
  vocabulary.add_merge(text.substr(0, space), text.substr(space + 1), vocabulary.name());
}

void read_model(const JsonFields& fields, BpeModel& model) {
  refuse_unsupported(fields);
  model.ignore_merges = fields.flag_or("ignore_merges", false);
  read_vocab(fields, model.vocabulary);
  const Json::array_t& merges = fields.array("merges");
  const bool in_pairs = !merges.empty() && merges[0].is_array();
  for (const Json& merge : merges) read_merge(fields, merge, in_pairs, model.vocabulary);
}

void read_added_tokens(const JsonFields& root, BpeVocabulary& vocabulary) {
  if (root.find("added_tokens") == nullptr) return;
  for (const JsonFields& token : root.objects("added_tokens")) {
    vocabulary.add_token(read_added_token(token, token.integer("id")));
  }
}

void read_normalizer(const JsonFields& root, BpeModel& model) {
  for (const JsonFields& part : parts_of(root, "normalizer", "normalizers")) {
    const std::string type = part.text("type");
    if (type != "NFC") part.reject("type ", quoted(type), " is not supported; only NFC is");
    model.nfc = true;
  }
}

std::string read_split(const JsonFields& split) {
  std::string regex = split.object("pattern").text_or("Regex", "");
  if (!pcre2_split_pattern(regex)) {
    split.reject("the pattern ", quoted(regex), " is not known, and is not run untranslated");
  }
  const std::string behavior = split.text("behavior");
  if (behavior != "Isolated") {
    split.reject("behavior ", quoted(behavior), " is not supported; only Isolated is");
  }
  if (split.flag_or("invert", false)) split.reject("invert is not supported");
  return regex;
}

void read_byte_level(const JsonFields& byte_level, BpeModel& model) {
  if (byte_level.flag_or("add_prefix_space", true)) {
    byte_level.reject("add_prefix_space is not supported");
  }
  if (byte_level.flag_or("use_regex", true)) model.split_patterns.emplace_back(kGpt2Pattern);
}

void read_pre_tokenizer(const JsonFields& root, BpeModel& model) {
  constexpr size_t kMaxParts = 16;
  bool has_byte_level = false;
  const std::vector<JsonFields> parts = parts_of(root, "pre_tokenizer", "pretokenizers");
  if (parts.size() > kMaxParts) root.reject("pre_tokenizer has more than ", kMaxParts, " parts");
  for (const JsonFields& part : parts) {
    const std::string type = part.text("type");
    if (has_byte_level) part.reject("type ", quoted(type), " is not supported behind ByteLevel");
    if (type == "Split") {
      model.split_patterns.push_back(read_split(part));
    } else if (type == "Digits") {
      const bool each = part.flag_or("individual_digits", false);
      model.split_patterns.emplace_back(each ? kDigitPattern : kDigitsPattern);
    } else if (type == "ByteLevel") {
      read_byte_level(part, model);
      has_byte_level = true;
    } else {
      part.reject("type ", quoted(type), " is not supported; Split, Digits and ByteLevel are");
    }
  }
  if (!has_byte_level)
    root.reject("pre_tokenizer has no ByteLevel: only byte-level BPE is supported");
}

void check_decoder(const JsonFields& root) {
  const std::vector<JsonFields> parts = parts_of(root, "decoder", "decoders");
  if (parts.empty()) root.reject("decoder is missing; ByteLevel is needed");
  for (const JsonFields& part : parts) {
    const std::string type = part.text("type");
    if (type != "ByteLevel") part.reject("type ", quoted(type), " is not supported; ByteLevel is");
  }
}

/// The token that a template puts in front of a text; empty where it puts none.
std::string token_in_front(const JsonFields& processor) {
  std::string token;
  for (const JsonFields& part : processor.objects("single")) {
    if (part.find("Sequence") != nullptr) break;
    if (!token.empty()) part.reject("more than one token in front of a text is not supported");
    token = part.object("SpecialToken").text("id");
  }
  return token;
}

void read_post_processor(const JsonFields& root, BpeModel& model) {
  for (const JsonFields& part : parts_of(root, "post_processor", "processors")) {
    const std::string type = part.text("type");
    if (type == "ByteLevel") continue;  // moves offsets, which are not used
    if (type != "TemplateProcessing") {
      part.reject("type ", quoted(type), " is not supported; ByteLevel and TemplateProcessing are");
    }
    const std::string token = token_in_front(part);
    if (token.empty()) continue;
    model.bos = model.vocabulary.find(token);
    if (!model.bos) part.reject(quoted(token), " is no token");
    model.vocabulary.make_control(token);
    model.adds_bos = true;
  }
}

}  // namespace

BpeModel parse_bpe_json(std::string_view text, std::string_view name) {
  const Json json = parse_json(text, name);
  const JsonFields root(json, name);
  BpeModel model{.vocabulary = BpeVocabulary(name)};
  read_model(root.object("model"), model);
  read_normalizer(root, model);
  read_pre_tokenizer(root, model);
  check_decoder(root);
  read_added_tokens(root, model.vocabulary);
  read_post_processor(root, model);
  model.vocabulary.check_complete();
  return model;
}

}  // namespace winnow
