#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/base/error.h"
#include "tests/support/expect_error.h"
#include "tests/support/spm_model.h"
#include "tests/support/temp_dir.h"
#include "tokenizer/protobuf.h"
#include "tokenizer/spm_file.h"

using namespace winnow;
using winnow::test::expect_error;
using winnow::test::small_spm;

namespace {

SpmFile parse(std::string_view bytes) {
  return parse_spm_file(std::as_bytes(std::span(bytes)), "t.model");
}

void expect_rejected(std::string_view why, std::string_view bytes) {
  expect_error(ExitCode::kModel, {"t.model: ", why}, [&] { parse(bytes); });
}

/// The small file after `change`.
void expect_rejected_after(std::string_view why, const std::function<void(SpmFile&)>& change) {
  SpmFile file = small_spm({"a", "b", "ab"});
  change(file);
  expect_rejected(why, serialize_spm_file(file));
}

/// The small file, and behind it one more message for its field `number`.
std::string with_field(uint32_t number, const std::function<void(ProtoWriter&)>& write) {
  ProtoWriter inner;
  write(inner);
  ProtoWriter outer;
  outer.bytes(number, inner.message());
  return serialize_spm_file(small_spm({"a", "b", "ab"})) + outer.message();
}

bool same(const SpmFile& a, const SpmFile& b) {
  const auto same_piece = [](const SpmPiece& x, const SpmPiece& y) {
    return x.text == y.text && x.score == y.score && x.type == y.type;
  };
  return std::equal(a.pieces.begin(), a.pieces.end(), b.pieces.begin(), b.pieces.end(),
                    same_piece) &&
         a.model == b.model && a.byte_fallback == b.byte_fallback &&
         a.add_dummy_prefix == b.add_dummy_prefix &&
         a.remove_extra_whitespaces == b.remove_extra_whitespaces && a.unk == b.unk &&
         a.bos == b.bos && a.eos == b.eos && a.unk_surface == b.unk_surface;
}

/// `n` short pieces, all different.
std::vector<std::string> many_pieces(size_t n) {
  std::vector<std::string> texts;
  for (size_t i = 0; i < n; ++i) {
    std::string text = "w";
    for (size_t rest = i; rest > 0; rest /= 60) text += static_cast<char>('A' + rest % 60);
    texts.push_back(text);
  }
  return texts;
}

}  // namespace

TEST_CASE("a sentencepiece file says what was written into it") {
  SpmFile file = small_spm({"a", "\xE2\x96\x81",
                            "\xE2\x96\x81"
                            "a",
                            "\n"});
  file.add_dummy_prefix = false;
  file.bos = -1;
  file.unk_surface = "?";
  file.pieces.push_back({"<x>", -7.5F, PieceType::kUserDefined});
  file.pieces.push_back({"<y>", 0, PieceType::kUnused});
  CHECK(same(parse(serialize_spm_file(file)), file));
  file.model = SpmModel::kUnigram;
  file.remove_extra_whitespaces = true;
  CHECK(same(parse(serialize_spm_file(file)), file));
}

TEST_CASE("a sentencepiece file that is silent about its rules has the format's defaults") {
  ProtoWriter out;
  const SpmFile pieces = small_spm(many_pieces(300));
  for (const SpmPiece& piece : pieces.pieces) {
    ProtoWriter inner;
    inner.bytes(1, piece.text);
    if (piece.type != PieceType::kNormal) inner.varint(3, static_cast<uint64_t>(piece.type));
    if (piece.type != PieceType::kByte) out.bytes(1, inner.message());
  }
  const SpmFile file = parse(out.message());
  CHECK(file.model == SpmModel::kUnigram);
  CHECK_FALSE(file.byte_fallback);
  CHECK(file.add_dummy_prefix);
  CHECK(file.remove_extra_whitespaces);
  CHECK(file.bos == 1);
  CHECK(file.eos == 2);
  CHECK(file.unk_surface == " \xE2\x81\x87 ");
  CHECK(file.pieces[3].type == PieceType::kNormal);
}

TEST_CASE("the bundled sentencepiece file is accepted") {
  const SpmFile file = parse(test::read_file("weights/demo/tokenizer.model"));
  CHECK(file.pieces.size() == 4096);
  CHECK(file.model == SpmModel::kBpe);
  CHECK(file.byte_fallback);
  CHECK_FALSE(file.add_dummy_prefix);
  CHECK(file.pieces[1].text == "<s>");
}

TEST_CASE("sentencepiece files in use are accepted, other tokenizers are named") {
  for (const std::string name : {"tokenizers/llama2", "tokenizers/mistral",
                                 "tokenizers/tinystories4096", "models/stories260K"}) {
    const std::filesystem::path path = "../shared/data/" + name + "/tokenizer.model";
    if (!std::filesystem::exists(path)) {
      MESSAGE("skipped, not there: ", path.string());
      continue;
    }
    const SpmFile file = parse(test::read_file(path));
    CHECK(file.model == SpmModel::kBpe);
    CHECK(file.byte_fallback);
    CHECK(file.bos == 1);
    CHECK(same(parse(serialize_spm_file(file)), file));
  }
  const std::filesystem::path tiktoken = "../shared/data/tokenizers/llama3/tokenizer.model";
  if (std::filesystem::exists(tiktoken)) {
    expect_rejected("tiktoken", test::read_file(tiktoken));
  } else {
    MESSAGE("skipped, not there: ", tiktoken.string());
  }
}

TEST_CASE("files of other kinds are rejected by name") {
  expect_rejected("empty", "");
  expect_rejected("git-LFS", "version https://git-lfs.github.com/spec/v1\noid sha256:00\n");
  expect_rejected("web page", "<!DOCTYPE html><html></html>");
  expect_rejected("tiktoken", "IQ== 0\nIg== 1\n");
  expect_rejected("JSON", "{\"version\": \"1.0\"}");
}

TEST_CASE("malformed protocol buffers are rejected") {
  using namespace std::string_view_literals;
  expect_rejected("reaches past the end", "\x0A"sv);  // a length is missing
  expect_rejected("reaches past the end",
                  "\x0A\x05"
                  "ab"sv);  // 5 bytes promised, 2 there
  expect_rejected("reaches past the end", "\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"sv);
  expect_rejected("reaches past the end", "\x0A\x80\x80"sv);  // a varint without its end
  expect_rejected("longer than 64 bits", "\x0A" + std::string(10, '\x80') + "\x01");
  expect_rejected("longer than 64 bits", "\x0A" + std::string(9, '\xFF') + "\x02");
  expect_rejected("reaches past the end", "\x0D\x01\x02"sv);      // 3 of 5 bytes of a float
  expect_rejected("out of range", "\x02\x00"sv);                  // field 0
  expect_rejected("out of range", "\x80\x80\x80\x80\x10\x00"sv);  // field 2^29
  expect_rejected("unknown kind", std::string(5000, '\x0B'));     // groups in groups
  expect_rejected("unknown kind", "\x0E"sv);
  expect_rejected("field number 6", "\x32\x00"sv);
  expect_rejected("piece is a number", "\x08\x01"sv);
}

TEST_CASE("a sentencepiece file cut off anywhere, or with more behind it, is rejected") {
  const std::string whole = serialize_spm_file(small_spm({"a", "b", "ab"}));
  REQUIRE_NOTHROW(parse(whole));
  // Without its last field the file is whole, and the defaults hold.
  const size_t last_field = whole.rfind("identity") - 4;
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string_view start = std::string_view(whole).substr(0, size);
    if (size == last_field) {
      CHECK(parse(start).remove_extra_whitespaces);
    } else {
      REQUIRE_THROWS_AS(parse(start), Error);
    }
  }
  CHECK_THROWS_AS(parse(whole + '\0'), Error);
  CHECK_THROWS_AS(parse(whole + "trailing"), Error);
  CHECK_THROWS_AS(parse(whole + whole), Error);
}

TEST_CASE("random bytes and random damage never do more than throw") {
  std::mt19937 random(4);
  size_t accepted = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string bytes(random() % 400, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random() & 0xFF);
    CHECK_THROWS_AS(parse(bytes), Error);
  }
  const std::string whole = serialize_spm_file(small_spm({"a", "b", "ab"}));
  for (int round = 0; round < 3000; ++round) {
    std::string bytes = whole;
    for (int i = 0; i < 3; ++i) bytes[random() % bytes.size()] = static_cast<char>(random() & 0xFF);
    try {
      parse(bytes);
      ++accepted;  // a changed score, say
    } catch (const Error& error) {
      REQUIRE(error.code() == ExitCode::kModel);
    }
  }
  CHECK(accepted < 3000);
}

TEST_CASE("pieces that are no pieces are rejected") {
  const auto piece = [](std::string text, float score = 0, PieceType type = PieceType::kNormal) {
    return [=](SpmFile& file) { file.pieces.push_back({text, score, type}); };
  };
  expect_rejected_after("empty", piece(""));
  expect_rejected_after("200000 bytes", piece(std::string(200000, 'x')));
  expect_rejected_after("257 bytes", piece(std::string(257, 'x')));
  expect_rejected_after("NUL", piece(std::string("a\0b", 3)));
  expect_rejected_after("invalid UTF-8 at byte 1", piece("a\xFF"));
  expect_rejected_after("invalid UTF-8", piece("\xED\xA0\x80"));
  expect_rejected_after("'ab' is there twice", piece("ab"));
  expect_rejected_after("'<s>' is there twice", piece("<s>"));
  expect_rejected_after("score nan", piece("x", std::numeric_limits<float>::quiet_NaN()));
  expect_rejected_after("score inf", piece("x", std::numeric_limits<float>::infinity()));
  expect_rejected_after("score -inf", piece("x", -std::numeric_limits<float>::infinity()));
  expect_rejected_after("score", piece("x", 2e30F));
  expect_rejected_after("the type 0", piece("x", 0, static_cast<PieceType>(0)));
  expect_rejected_after("the type 7", piece("x", 0, static_cast<PieceType>(7)));
  SpmFile longest = small_spm({std::string(256, 'x')});
  CHECK_NOTHROW(parse(serialize_spm_file(longest)));
}

TEST_CASE("piece types beyond 32 bits, and fields of a wrong kind, are rejected") {
  expect_rejected("the type 4294967297", with_field(1, [](ProtoWriter& piece) {
                    piece.bytes(1, "x");
                    piece.varint(3, (uint64_t{1} << 32) + 1);
                  }));
  expect_rejected("score is no 32-bit float", with_field(1, [](ProtoWriter& piece) {
                    piece.bytes(1, "x");
                    piece.varint(2, 1);
                  }));
  expect_rejected("piece is a number", with_field(1, [](ProtoWriter& p) { p.varint(1, 1); }));
  expect_rejected("bos_id is no integer", with_field(2, [](ProtoWriter& t) { t.bytes(41, "1"); }));
  expect_rejected("byte_fallback is no integer",
                  with_field(2, [](ProtoWriter& t) { t.fixed32(35, 1); }));
}

TEST_CASE("too few and too many pieces are rejected") {
  SpmFile few = small_spm({});
  few.byte_fallback = false;
  few.pieces.resize(3);
  expect_rejected("has 3 pieces", serialize_spm_file(few));
  expect_rejected("more than 1048576 pieces",
                  serialize_spm_file(small_spm(many_pieces((size_t{1} << 20) - 258))));
  CHECK_NOTHROW(parse(serialize_spm_file(small_spm(many_pieces((size_t{1} << 20) - 259)))));
  expect_rejected("bytes, more than 16777216", "\x0A" + std::string(16U << 20, '\x01'));
}

TEST_CASE("exactly one unknown piece, where unk_id says") {
  expect_rejected_after("has 0 unknown",
                        [](SpmFile& file) { file.pieces[0].type = PieceType::kNormal; });
  expect_rejected_after("has 2 unknown", [](SpmFile& file) {
    file.pieces.push_back({"<u2>", 0, PieceType::kUnknown});
  });
  expect_rejected_after("unk_id 5", [](SpmFile& file) { file.unk = 5; });
  expect_rejected_after("unk_id -1", [](SpmFile& file) { file.unk = -1; });
  expect_rejected_after("unk_id 999999", [](SpmFile& file) { file.unk = 999999; });
}

TEST_CASE("bos and eos are control pieces, or not there") {
  expect_rejected_after("bos_id 300", [](SpmFile& file) { file.bos = 300; });
  expect_rejected_after("bos_id 3 is '<0x00>'", [](SpmFile& file) { file.bos = 3; });
  expect_rejected_after("eos_id -2 is out of range", [](SpmFile& file) { file.eos = -2; });
  expect_rejected("eos_id 4294967298 is out of range",
                  with_field(2, [](ProtoWriter& t) { t.varint(42, (uint64_t{1} << 32) + 2); }));
  SpmFile none = small_spm({});
  none.bos = none.eos = -1;
  CHECK(parse(serialize_spm_file(none)).eos == -1);
}

TEST_CASE("byte pieces are exactly <0x00> to <0xFF>") {
  for (const std::string spelling : {"<0x-1>", "<0xZZ>", "<0x100>", "<0x1>", "<0xab>", "x"}) {
    expect_rejected_after("is no <0xNN>", [&](SpmFile& file) { file.pieces[100].text = spelling; });
  }
  expect_rejected_after("has 255 byte pieces",
                        [](SpmFile& file) { file.pieces[100].type = PieceType::kNormal; });
  expect_rejected_after("with byte_fallback off", [](SpmFile& f) { f.byte_fallback = false; });
  // Pieces of other types that merely look so are text.
  SpmFile text = small_spm({"<0x-1>", "<0x100>"});
  CHECK_NOTHROW(parse(serialize_spm_file(text)));
  CHECK(spm_byte("<0xA9>") == 0xA9);
  CHECK_FALSE(spm_byte("<0xa9>"));
}

TEST_CASE("what encode does not do is rejected, not ignored") {
  expect_rejected("precompiled_charsmap", with_field(3, [](ProtoWriter& n) { n.bytes(2, "xyz"); }));
  expect_rejected("precompiled_charsmap", with_field(5, [](ProtoWriter& n) { n.bytes(2, "xyz"); }));
  expect_rejected("escape_whitespaces", with_field(3, [](ProtoWriter& n) { n.varint(5, 0); }));
  expect_rejected("whitespace_as_suffix", with_field(2, [](ProtoWriter& t) { t.varint(24, 1); }));
  expect_rejected("model_type 3", with_field(2, [](ProtoWriter& t) { t.varint(3, 3); }));
  expect_rejected("unk_surface", with_field(2, [](ProtoWriter& t) { t.bytes(44, "\xFF"); }));
  CHECK_NOTHROW(parse(with_field(5, [](ProtoWriter& n) { n.bytes(2, ""); })));
  CHECK_NOTHROW(parse(with_field(4, [](ProtoWriter& test) { test.bytes(1, "samples"); })));
}
