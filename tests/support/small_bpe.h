// A small byte-level BPE to break or to encode with, as a tokenizer.json.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "src/base/json.h"
#include "tokenizer/bpe_json.h"
#include "tokenizer/bpe_tokenizer.h"
#include "tokenizer/byte_level.h"

namespace winnow::test {

/// An added token that is text, to be looked for before normalization; `options` change it.
inline Json added_token(const std::string& content, int64_t id, const Json& options = {}) {
  Json token = {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
                {"rstrip", false}, {"normalized", false}, {"special", false}};
  if (!options.is_null()) token.update(options);
  return token;
}

/// Bytes 0 to 255 are the ids of the same numbers; the results of `merges` follow, from 256 on.
/// Words are not cut.
inline Json small_bpe(const std::vector<std::pair<std::string, std::string>>& merges) {
  Json model = {{"type", "BPE"}, {"vocab", Json::object()}, {"merges", Json::array()}};
  for (int byte = 0; byte < 256; ++byte) {
    model["vocab"][byte_level_text(std::string(1, static_cast<char>(byte)))] = byte;
  }
  for (const auto& [left, right] : merges) {
    const std::string l = byte_level_text(left);
    const std::string r = byte_level_text(right);
    model["merges"].push_back(Json::array({l, r}));
    if (!model["vocab"].contains(l + r)) model["vocab"][l + r] = model["vocab"].size();
  }
  return {
      {"model", model},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}},
      {"decoder", {{"type", "ByteLevel"}}}};
}

inline BpeTokenizer tokenizer_of(const Json& json) {
  return BpeTokenizer(parse_bpe_json(json.dump(), "t.json"));
}

}  // namespace winnow::test
