// What is refused in a tokenizer.json, and that the one line says what it was.
#include <doctest/doctest.h>

#include <functional>
#include <initializer_list>
#include <random>
#include <string>
#include <string_view>

#include "tests/support/expect_error.h"
#include "tests/support/small_bpe.h"
#include "tokenizer/split_patterns.h"

using namespace winnow;
using winnow::test::added_token;
using winnow::test::expect_error;
using winnow::test::small_bpe;

namespace {

/// Breaks a file that is accepted otherwise.
void refused(std::initializer_list<std::string_view> parts,
             const std::function<void(Json&)>& break_it) {
  Json json = small_bpe({{"a", "b"}, {"ab", "c"}});
  json["added_tokens"] = {added_token("<s>", 300, {{"special", true}})};
  REQUIRE_NOTHROW(parse_bpe_json(json.dump(), "t.json"));
  break_it(json);
  const std::string text = json.dump();
  CAPTURE(std::string(*parts.begin()));
  expect_error(ExitCode::kModel, parts, [&] { parse_bpe_json(text, "t.json"); });
}

Json pre_tokenizers(const Json& parts) {
  return {{"type", "Sequence"}, {"pretokenizers", parts}};
}

}  // namespace

TEST_CASE("a file that is no tokenizer.json is refused") {
  for (const std::string_view text :
       {"", "{", "[]", "1", "{\"model\": 1}", "{\"model\": null}", "{}"}) {
    expect_error(ExitCode::kModel, {"t.json"}, [&] { parse_bpe_json(text, "t.json"); });
  }
  expect_error(ExitCode::kModel, {"t.json", "git-LFS"},
               [] { parse_bpe_json("version https://git-lfs.github.com/spec/v1\n", "t.json"); });
}

TEST_CASE("models that are no byte-level BPE are refused by name") {
  refused({"model: type 'WordPiece'"}, [](Json& j) { j["model"]["type"] = "WordPiece"; });
  refused({"model: type 'Unigram'"}, [](Json& j) { j["model"]["type"] = "Unigram"; });
  refused({"model: 'type'", "number"}, [](Json& j) { j["model"]["type"] = 1; });
  refused({"model: type 'none'"}, [](Json& j) {
    j["model"].erase("type");
    j["model"].erase("merges");
  });
  refused({"byte_fallback", "tokenizer.model"},
          [](Json& j) { j["model"]["byte_fallback"] = true; });
  refused({"dropout"}, [](Json& j) { j["model"]["dropout"] = 0.1; });
  refused({"continuing_subword_prefix '##'"},
          [](Json& j) { j["model"]["continuing_subword_prefix"] = "##"; });
  refused({"end_of_word_suffix '</w>'"},
          [](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; });
  refused({"'ignore_merges'", "true or false"}, [](Json& j) { j["model"]["ignore_merges"] = 1; });
}

TEST_CASE("vocabularies with ids or pieces out of order are refused") {
  refused({"model: vocab is missing"}, [](Json& j) { j["model"].erase("vocab"); });
  refused({"model.vocab", "array"}, [](Json& j) { j["model"]["vocab"] = Json::array(); });
  refused({"model.vocab: 'x'", "string"}, [](Json& j) { j["model"]["vocab"]["x"] = "1"; });
  refused({"model.vocab: 'x'", "integer"}, [](Json& j) { j["model"]["vocab"]["x"] = 1.5; });
  refused({"id -1 of 'zz'", "out of range"}, [](Json& j) { j["model"]["vocab"]["zz"] = -1; });
  refused({"id 1048576", "out of range"}, [](Json& j) { j["model"]["vocab"]["zz"] = 1 << 20; });
  refused({"out of range"}, [](Json& j) { j["model"]["vocab"]["zz"] = UINT64_MAX; });
  refused({"id 97 is given twice", "'a'", "'zz'"}, [](Json& j) { j["model"]["vocab"]["zz"] = 97; });
  refused({"5000 ", "ids have no piece"}, [](Json& j) { j["model"]["vocab"]["zz"] = 258 + 5001; });
  refused({"an empty piece"}, [](Json& j) { j["model"]["vocab"][""] = 299; });
  refused({"the piece 'xxx", "has 1025 bytes"},
          [](Json& j) { j["model"]["vocab"][std::string(1025, 'x')] = 299; });
  refused({"byte 122", "'z'", "no byte-level"}, [](Json& j) { j["model"]["vocab"].erase("z"); });
  refused({"byte 32", "'\u0120'"}, [](Json& j) { j["model"]["vocab"].erase("\u0120"); });
}

TEST_CASE("bytes that UTF-8 never has may be missing") {
  Json json = small_bpe({});
  for (const int byte : {0xC0, 0xC1, 0xF5, 0xFF}) {
    json["model"]["vocab"].erase(byte_level_text(std::string(1, static_cast<char>(byte))));
  }
  const BpeTokenizer tokenizer = test::tokenizer_of(json);
  CHECK(tokenizer.encode("\xFF") == std::vector<int32_t>{0xEF, 0xBF, 0xBD});
  json["model"]["vocab"].erase(byte_level_text("\xF4"));
  expect_error(ExitCode::kModel, {"byte 244"}, [&] { test::tokenizer_of(json); });
}

TEST_CASE("merges of what is not there are refused by their place") {
  const auto merges = [](const Json& value) {
    return [value](Json& j) { j["model"]["merges"] = value; };
  };
  refused({"merges is missing"}, [](Json& j) { j["model"].erase("merges"); });
  refused({"'merges'", "object", "array"}, merges(Json::object()));
  refused({"merge 1, of 'q' and 'zz': 'zz' is no piece"}, merges({"a b", "q zz"}));
  refused({"merge 0, of 'zz' and 'q': 'zz' is no piece"}, merges({"zz q"}));
  refused({"merge 0, of 'q' and 'q': 'qq' is no piece"}, merges({"q q"}));
  refused({"merges[1] is not two pieces"}, merges({"a b", "ab"}));
  refused({"merges[0] is not two pieces"}, merges({"a b c"}));
  refused({"merge 0, of '' and 'b'"}, merges({" b"}));
  refused({"merges[1] is not a string"}, merges({"a b", {"ab", "c"}}));
  refused({"merges[1] is not a pair"}, merges({{"a", "b"}, "ab c"}));
  refused({"merges[0] is not a pair"}, merges({{"a", "b", "c"}}));
  refused({"merges[0] is not a pair"}, merges(Json::array({Json::array({"a", 1})})));
  refused({"merges[0] is not a string"}, merges({1}));
  refused({"merge of 'a' and 'b' is there twice"}, merges({"a b", "ab c", "a b"}));
}

TEST_CASE("added tokens that contradict the vocabulary or each other are refused") {
  const auto added = [](const Json& token) {
    return [token](Json& j) { j["added_tokens"].push_back(token); };
  };
  refused({"'added_tokens'", "array"}, [](Json& j) { j["added_tokens"] = 1; });
  refused({"added_tokens[1]", "object"}, added(1));
  refused({"an empty added token"}, added(added_token("", 301)));
  refused({"'<s>' is there twice"}, added(added_token("<s>", 300)));
  refused({"'<s>' has the id 301", "says 300"}, added(added_token("<s>", 301)));
  refused({"'ab' has the id 301", "says 256"}, added(added_token("ab", 301)));
  refused({"id 97 is given twice"}, added(added_token("zz", 97)));
  refused({"id -1"}, added(added_token("zz", -1)));
  refused({"out of range"}, added(added_token("zz", 1 << 20)));
  refused({"out of range"}, added(added_token("zz", int64_t{1} << 32)));
  refused({"added_tokens[1]: 'lstrip'"}, added(added_token("zz", 301, {{"lstrip", "yes"}})));
  refused({"added_tokens[1]: content is missing"}, added({{"id", 301}}));
  refused({"added_tokens[1]: id is missing"}, added({{"content", "zz"}}));
  refused({"the added token 'xxx", "has 2000 bytes"},
          added(added_token(std::string(2000, 'x'), 301)));
}

TEST_CASE("pre-tokenizers that are not known are refused by name, and no pattern is run") {
  const auto pre = [](const Json& value) {
    return [value](Json& j) { j["pre_tokenizer"] = value; };
  };
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  const auto split = [](const Json& pattern, std::string_view behavior, bool invert) {
    return Json{
        {"type", "Split"}, {"pattern", pattern}, {"behavior", behavior}, {"invert", invert}};
  };
  const Json known = {{"Regex", kGpt2Pattern}};
  refused({"pre_tokenizer has no ByteLevel"}, pre(nullptr));
  refused({"pre_tokenizer has no ByteLevel"}, pre(split(known, "Isolated", false)));
  refused({"pre_tokenizer: type 'Metaspace'"}, pre({{"type", "Metaspace"}}));
  refused({"pre_tokenizer: type is missing"}, pre({{"kind", "ByteLevel"}}));
  refused({"pretokenizers[0]: type 'Whitespace'"}, pre(pre_tokenizers({{{"type", "Whitespace"}}})));
  refused({"pre_tokenizer: is of the type string"}, pre("ByteLevel"));
  refused({"pre_tokenizer: pretokenizers is missing"}, pre({{"type", "Sequence"}}));
  refused({"type 'ByteLevel' is not supported behind ByteLevel"},
          pre(pre_tokenizers({byte_level, byte_level})));
  refused({"add_prefix_space"}, pre({{"type", "ByteLevel"}, {"add_prefix_space", true}}));
  refused({"add_prefix_space"}, pre({{"type", "ByteLevel"}}));
  refused({"the pattern '(a+)+$' is not known"},
          pre(pre_tokenizers({split({{"Regex", "(a+)+$"}}, "Isolated", false), byte_level})));
  refused({"the pattern '", "not known"},
          pre(split({{"Regex", std::string(1'000'000, 'a')}}, "Isolated", false)));
  refused({"is not known"}, pre(split({{"String", " "}}, "Isolated", false)));
  refused({"pattern: is of the type string"}, pre(split(" ", "Isolated", false)));
  refused({"behavior 'Removed'"}, pre(split(known, "Removed", false)));
  refused({"invert"}, pre(split(known, "Isolated", true)));
  refused({"more than 16 parts"}, pre(pre_tokenizers(Json(17, {{"type", "Digits"}}))));
}

TEST_CASE("normalizers, decoders and post-processors that are not known are refused by name") {
  refused({"normalizer: type 'NFKC'"}, [](Json& j) { j["normalizer"] = {{"type", "NFKC"}}; });
  refused({"normalizer.normalizers[1]: type 'Lowercase'"}, [](Json& j) {
    j["normalizer"] = {{"type", "Sequence"},
                       {"normalizers", {{{"type", "NFC"}}, {{"type", "Lowercase"}}}}};
  });
  refused({"decoder is missing"}, [](Json& j) { j.erase("decoder"); });
  refused({"decoder: type 'Metaspace'"}, [](Json& j) { j["decoder"]["type"] = "Metaspace"; });
  refused({"post_processor: type 'RobertaProcessing'"}, [](Json& j) {
    j["post_processor"] = {{"type", "RobertaProcessing"}};
  });
  const auto single = [](const Json& parts) {
    return [parts](Json& j) {
      j["post_processor"] = {{"type", "TemplateProcessing"}, {"single", parts}};
    };
  };
  const Json token = {{"SpecialToken", {{"id", "<s>"}}}};
  refused({"single[1]: more than one token"}, single({token, token}));
  refused({"'<none>' is no token"}, single({{{"SpecialToken", {{"id", "<none>"}}}}}));
  refused({"single[0]: SpecialToken is missing"}, single({{{"Other", 1}}}));
  refused({"post_processor: single is missing"}, single(nullptr));
}

TEST_CASE("sequences nest only as deep as JSON may") {
  Json inner = {{"type", "NFC"}};
  for (int depth = 0; depth < 10; ++depth) {
    inner = {{"type", "Sequence"}, {"normalizers", {inner}}};
  }
  Json json = small_bpe({});
  json["normalizer"] = inner;
  CHECK(parse_bpe_json(json.dump(), "t.json").nfc);
  for (int depth = 0; depth < 20; ++depth) {
    inner = {{"type", "Sequence"}, {"normalizers", {inner}}};
  }
  json["normalizer"] = inner;
  expect_error(ExitCode::kModel, {"t.json", "nesting"},
               [&] { parse_bpe_json(json.dump(), "t.json"); });
}

TEST_CASE("random damage to a tokenizer.json never does more than throw") {
  Json json = small_bpe({{"a", "b"}, {"ab", "c"}});
  json["normalizer"] = {{"type", "NFC"}};
  json["added_tokens"] = {added_token("<s>", 300), added_token(" ab", 301, {{"rstrip", true}})};
  const std::string whole = json.dump();
  constexpr std::string_view kBytes = "{}[]\",:0129ae -\\u";
  std::mt19937 random(31);
  size_t n_accepted = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = whole;
    for (size_t n = 1 + random() % 3; n > 0; --n) {
      const size_t at = random() % text.size();
      if (random() % 2 == 0) {
        text[at] = kBytes[random() % kBytes.size()];
      } else {
        text.erase(at, 1 + random() % 8);
      }
    }
    try {
      const BpeTokenizer tokenizer(parse_bpe_json(text, "t.json"));
      ++n_accepted;
      const std::string encoded = tokenizer.decode(tokenizer.encode("abc <s> ab \u00E9"));
      CHECK(encoded.find('c') != std::string::npos);
    } catch (const Error& error) {
      CHECK(error.code() == ExitCode::kModel);
    }
  }
  CHECK(n_accepted > 0);
  CHECK(n_accepted < 2500);
}
