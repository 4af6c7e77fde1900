// What is read of a tokenizer.json.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/support/expect_error.h"
#include "tests/support/small_bpe.h"
#include "tokenizer/split_patterns.h"

using namespace winnow;
using winnow::test::added_token;
using winnow::test::small_bpe;
using winnow::test::tokenizer_of;

namespace {

using Ids = std::vector<int32_t>;

Json split(std::string_view regex) {
  return {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}};
}

BpeModel model_of(const Json& json) {
  return parse_bpe_json(json.dump(), "t.json");
}

Json bos_template(const std::string& token) {
  return {{"type", "TemplateProcessing"},
          {"single",
           {{{"SpecialToken", {{"id", token}, {"type_id", 0}}}},
            {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}}};
}

}  // namespace

TEST_CASE("merges are read as pairs and as strings, and rank in their order") {
  Json json = small_bpe({{"a", "b"}, {"b", "c"}, {" ", "ab"}});
  CHECK(tokenizer_of(json).encode("abc ab") == Ids{256, 'c', 258});
  json["model"]["merges"] = {"a b", "b c", "\u0120 ab"};
  CHECK(tokenizer_of(json).encode("abc ab") == Ids{256, 'c', 258});
  json["model"]["merges"] = {"b c", "a b", "\u0120 ab"};
  CHECK(tokenizer_of(json).encode("abc ab") == Ids{'a', 257, 258});
  json["model"]["merges"] = Json::array();
  CHECK(tokenizer_of(json).encode("abc") == Ids{'a', 'b', 'c'});
}

TEST_CASE("with ignore_merges a word that is a piece is whole, unless it is a control token") {
  Json json = small_bpe({{"a", "b"}, {"b", "c"}});
  json["model"]["vocab"]["abc"] = 258;  // no merge makes it
  json["model"]["vocab"]["bcd"] = 259;
  json["added_tokens"] = {added_token("bcd", 259, {{"special", true}})};
  json["pre_tokenizer"]["use_regex"] = true;
  CHECK(tokenizer_of(json).encode("abc bcd") == Ids{256, 'c', ' ', 257, 'd'});
  json["model"]["ignore_merges"] = true;
  CHECK(tokenizer_of(json).encode("abc") == Ids{258});
  CHECK(tokenizer_of(json).encode("abcd") == Ids{256, 'c', 'd'});
  CHECK(tokenizer_of(json).encode("bcd") == Ids{257, 'd'});
}

TEST_CASE("pre-tokenizers stand alone or in sequences") {
  Json json = small_bpe({});
  const auto patterns = [&](const Json& pre_tokenizer) {
    json["pre_tokenizer"] = pre_tokenizer;
    return model_of(json).split_patterns;
  };
  const Json no_regex = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  const Json with_regex = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  const auto sequence = [](const std::vector<Json>& parts) {
    return Json{{"type", "Sequence"}, {"pretokenizers", parts}};
  };
  using Patterns = std::vector<std::string>;
  CHECK(patterns(no_regex).empty());
  CHECK(patterns(with_regex) == Patterns{std::string(kGpt2Pattern)});
  CHECK(patterns(sequence({split(kLlama3Pattern), no_regex})) ==
        Patterns{std::string(kLlama3Pattern)});
  CHECK(patterns(sequence({sequence({split(kQwen2Pattern)}), sequence({no_regex})})) ==
        Patterns{std::string(kQwen2Pattern)});
  CHECK(patterns(sequence({{{"type", "Digits"}, {"individual_digits", true}}, with_regex})) ==
        Patterns{std::string(kDigitPattern), std::string(kGpt2Pattern)});
  CHECK(patterns(sequence({{{"type", "Digits"}}, no_regex})) ==
        Patterns{std::string(kDigitsPattern)});
}

TEST_CASE("the normalizer is nothing or NFC") {
  Json json = small_bpe({});
  CHECK(tokenizer_of(json).encode("e\u0301") == Ids{'e', 0xCC, 0x81});
  json["normalizer"] = {{"type", "NFC"}};
  CHECK(tokenizer_of(json).encode("e\u0301") == Ids{0xC3, 0xA9});
  json["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}}}};
  CHECK(tokenizer_of(json).encode("e\u0301") == Ids{0xC3, 0xA9});
  json["normalizer"] = {{"type", "Sequence"}, {"normalizers", Json::array()}};
  CHECK(tokenizer_of(json).encode("e\u0301") == Ids{'e', 0xCC, 0x81});
}

TEST_CASE("added tokens are found before normalization or after it") {
  Json json = small_bpe({});
  json["normalizer"] = {{"type", "NFC"}};
  json["added_tokens"] = {added_token("e\u0301", 256),
                          added_token("a\u0301", 257, {{"normalized", true}})};
  const BpeTokenizer tokenizer = tokenizer_of(json);
  CHECK(tokenizer.encode("e\u0301") == Ids{256});
  CHECK(tokenizer.encode("\u00E9") == Ids{0xC3, 0xA9});
  CHECK(tokenizer.encode("a\u0301\u00E1") == Ids{257, 257});
  CHECK(tokenizer.decode(Ids{256, 257}) == "e\u0301\u00E1");
  CHECK(tokenizer.vocab_size() == 258);
}

TEST_CASE("control tokens are found by their name alone, and decode to nothing") {
  Json json = small_bpe({{"<", "x"}});
  json["model"]["vocab"]["<|b|>"] = 257;
  json["added_tokens"] = {added_token("<|a|>", 260, {{"special", true}, {"lstrip", true}}),
                          added_token("<|b|>", 257, {{"special", true}}), added_token("<t>", 258)};
  const BpeTokenizer tokenizer = tokenizer_of(json);
  CHECK(tokenizer.control_id("<|a|>") == 260);
  CHECK(tokenizer.control_id("<|b|>") == 257);
  CHECK_FALSE(tokenizer.control_id("<t>"));
  CHECK_FALSE(tokenizer.control_id("<x"));
  CHECK_FALSE(tokenizer.control_id(""));
  CHECK(tokenizer.encode("<|a|><t>") == Ids{'<', '|', 'a', '|', '>', 258});
  CHECK(tokenizer.decode(Ids{260, 'x', 257, 258}) == "x<t>");
  CHECK(tokenizer.piece(260) == "<|a|>");
  CHECK(tokenizer.piece(256) == "<x");
  CHECK(tokenizer.piece(' ') == "\u0120");
  CHECK(tokenizer.vocab_size() == 261);
  CHECK(tokenizer.piece(259).empty());  // an id without a piece
  CHECK(tokenizer.decode_piece(259, true).empty());
}

TEST_CASE("a token that text can spell is no control token, whatever it is called") {
  Json json = small_bpe({{"a", "b"}});
  json["added_tokens"] = {added_token("!", '!', {{"special", true}}),
                          added_token("ab", 256, {{"special", true}})};
  const BpeTokenizer tokenizer = tokenizer_of(json);
  CHECK_FALSE(tokenizer.control_id("!"));
  CHECK_FALSE(tokenizer.control_id("ab"));
  CHECK(tokenizer.decode(tokenizer.encode("ab!")) == "ab!");
}

TEST_CASE("a piece in the byte alphabet stays bytes where it is an added token, too") {
  // U+00E9 spells the byte E9, which begins U+9ED1.
  Json json = small_bpe({});
  json["added_tokens"] = {added_token("\u00E9", 0xE9)};
  const BpeTokenizer tokenizer = tokenizer_of(json);
  CHECK(tokenizer.decode(tokenizer.encode("\u9ED1")) == "\u9ED1");
}

TEST_CASE("what a template puts in front of a text is BOS") {
  Json json = small_bpe({});
  json["added_tokens"] = {added_token("<s>", 256, {{"special", true}})};
  CHECK_FALSE(model_of(json).bos);
  CHECK_FALSE(model_of(json).adds_bos);
  json["post_processor"] = bos_template("<s>");
  CHECK(model_of(json).bos == 256);
  CHECK(model_of(json).adds_bos);
  json["post_processor"] = {{"type", "Sequence"},
                            {"processors", {{{"type", "ByteLevel"}}, bos_template("<s>")}}};
  CHECK(model_of(json).adds_bos);
  json["post_processor"] = bos_template("<s>");
  auto& parts = json["post_processor"]["single"];
  std::swap(parts[0], parts[1]);  // at the end of a text instead
  CHECK_FALSE(model_of(json).adds_bos);
}
