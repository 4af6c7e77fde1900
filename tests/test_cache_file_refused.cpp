// Files that no winnow saved, or that something happened to: each ends in one line.
#include <doctest/doctest.h>

#include <functional>
#include <limits>

#include "tests/support/expect_error.h"
#include "tests/support/kv_steps.h"
#include "tests/support/saved_cache.h"

using namespace winnow;
using namespace winnow::test;

namespace {

constexpr int64_t kBudget = 24;

/// A sound file of a ring that has turned by 5 of its rows, and changed copies of it.
class RefusedFiles {
 public:
  RefusedFiles() {
    const KvOptions kv = kv_options("sage", kBudget);
    std::vector<int32_t> tokens = prompt_of(shape_, kPrompt, 41);
    Sequence sequence = make_sequence(model_, kv, kPrompt, kCapacity);
    sequence.prefill(tokens);
    for (int i = 0; i < 5; ++i) {
      step(sequence, i);
      tokens.push_back(i);
    }
    save(sequence, model_, kv, tokens, kPrompt, path());
    sound_ = read_file(path());
  }

  std::filesystem::path path() const { return dir_ / "c"; }
  const std::string& sound() const { return sound_; }
  CacheBytes bytes() const { return CacheBytes(sound_); }
  const ModelConfig& config() const { return model_.config; }

  /// Opens, reads and checks all of a file of these bytes.
  void read(const std::string& bytes) const {
    write_file(path(), bytes);
    const CacheFile file = CacheFile::open(path());
    const CacheContents contents = file.read_tables();
    cache_settings(contents, config(), file.name());
    file.check_rows(contents, {});
  }

  void refuse(const std::string& bytes, std::initializer_list<std::string_view> parts) const {
    expect_error(ExitCode::kModel, parts, [&] { read(bytes); });
  }

  /// A header with one number changed and all checksums right.
  template <class T>
  void refuse_header(T CacheHeader::*field, std::type_identity_t<T> value,
                     std::initializer_list<std::string_view> parts) const {
    CacheBytes changed = bytes();
    changed.header.*field = value;
    refuse(changed.sealed(), parts);
  }

  /// The same of element i of a table.
  template <class T>
  void refuse_table(uint64_t CacheLayout::*table, size_t i, T value,
                    std::initializer_list<std::string_view> parts) const {
    CacheBytes changed = bytes();
    changed.set<T>(changed.layout.*table, i, value);
    refuse(changed.sealed(), parts);
  }

 private:
  TempDir dir_;
  TinyModel shape_;
  Model model_ = load_tiny(shape_, kCapacity);
  std::string sound_;
};

}  // namespace

TEST_CASE("cache file refused: the sound file is read") {
  const RefusedFiles files;
  files.read(files.sound());
  files.read(files.bytes().sealed());
}

TEST_CASE("cache file refused: another kind of file is named") {
  const RefusedFiles files;
  files.refuse("", {"/c: is empty"});
  files.refuse("x", {"is not a cache that winnow saved"});
  files.refuse(std::string(1000, '\0'), {"is not a cache that winnow saved"});
  files.refuse("GGUF" + std::string(500, 'x'), {"is a GGUF file"});
  files.refuse("PK\x03\x04" + std::string(500, 'x'), {"ZIP"});
  files.refuse("version https://git-lfs.github.com/spec/v1\n", {"git-LFS pointer"});
  files.refuse("<!DOCTYPE html><html>", {"web page"});
  expect_error(ExitCode::kIo, {"cannot open"}, [&] { CacheFile::open("/nowhere/c"); });
  expect_error(ExitCode::kIo, {"is a directory"}, [&] { CacheFile::open("/"); });
  expect_error(ExitCode::kIo, {"not a regular file"}, [&] { CacheFile::open("/dev/zero"); });
}

TEST_CASE("cache file refused: cut at every section, and one byte too long") {
  const RefusedFiles files;
  const CacheLayout at = files.bytes().layout;
  for (size_t n = 8; n < sizeof(CacheHeader); n += 7) {
    files.refuse(files.sound().substr(0, n), {"is cut"});
  }
  for (const uint64_t end : {uint64_t{sizeof(CacheHeader)}, at.heads + 5, at.layer_crc, at.tokens,
                             at.seen, at.logits, at.positions, at.masks, at.rows, at.end - 1}) {
    files.refuse(files.sound().substr(0, end), {"is cut: " + std::to_string(end) + " bytes of"});
  }
  files.refuse(files.sound() + "x", {"has 1 bytes behind its end"});
}

TEST_CASE("cache file refused: any bit that flips is noticed") {
  const RefusedFiles files;
  TestRandom random(50);
  const size_t n = files.sound().size();
  for (int i = 0; i < 400; ++i) {
    // Half of them in the header and the tables.
    const size_t most = i % 2 == 0 ? n : files.bytes().layout.rows;
    const auto at = static_cast<size_t>(draw(random, int64_t(most)));
    std::string changed = files.sound();
    changed[at] = static_cast<char>(changed[at] ^ (1 << draw(random, 8)));
    CAPTURE(at);
    files.refuse(changed, {"/c: "});
  }
  std::string changed = files.sound();
  changed[20] ^= 1;
  files.refuse(changed, {"is damaged: the checksum of its header"});
  changed = files.sound();
  changed[files.bytes().layout.logits] ^= 1;
  files.refuse(changed, {"is damaged: the checksum of its tables"});
  changed = files.sound();
  changed.back() ^= 1;
  files.refuse(changed, {"is damaged: the checksum of layer 1's rows"});
}

TEST_CASE("cache file refused: versions and sizes") {
  const RefusedFiles files;
  files.refuse_header(&CacheHeader::version, 1, {"has version 1 of the format, and this is 2"});
  files.refuse_header(&CacheHeader::file_bytes, ~uint64_t{0}, {"is cut"});
  const uint64_t rows = files.bytes().header.rows;
  // The file would have to be larger, or so large that 64 bits do not hold it: nothing is
  // allocated.
  for (const uint64_t many : {rows + 1, rows - 1, uint64_t{0}, uint64_t{1} << 32, uint64_t{1} << 58,
                              (uint64_t{1} << 58) + rows, ~uint64_t{0}}) {
    files.refuse_header(&CacheHeader::rows, many, {"do not come to"});
  }
  files.refuse_header(&CacheHeader::next_position, 76, {"do not come to"});
  files.refuse_header(&CacheHeader::next_position, std::numeric_limits<int32_t>::max(),
                      {"do not come to"});
  files.refuse_header(&CacheHeader::vocab_size, 1 << 24, {"do not come to"});
  files.refuse_header(&CacheHeader::n_layers, 1024, {"do not come to"});
  files.refuse_header(&CacheHeader::n_kv_heads, 1 << 14, {"do not come to"});
  files.refuse_header(&CacheHeader::head_dim, 256, {"do not come to"});
  files.refuse_header(&CacheHeader::type, 1, {"do not come to"});
}

TEST_CASE("cache file refused: numbers that no cache has") {
  const RefusedFiles files;
  const auto nan = std::numeric_limits<double>::quiet_NaN();
  for (const uint32_t n : {0U, 1025U, ~0U}) {
    files.refuse_header(&CacheHeader::n_layers, n, {"the number of layers"});
  }
  files.refuse_header(&CacheHeader::n_kv_heads, 0, {"the number of KV heads 0"});
  files.refuse_header(&CacheHeader::group, 0, {"the group 0"});
  files.refuse_header(&CacheHeader::group, 33, {"the group 33 is not from 1 to 32"});
  files.refuse_header(&CacheHeader::head_dim, 0, {"head_dim 0"});
  files.refuse_header(&CacheHeader::head_dim, 257, {"head_dim 257"});
  files.refuse_header(&CacheHeader::vocab_size, 0, {"vocab_size 0"});
  files.refuse_header(&CacheHeader::type, 3, {"the rows' type 3"});
  for (const int64_t n : {int64_t{0}, int64_t{-1}, int64_t{1} << 31}) {
    files.refuse_header(&CacheHeader::next_position, n, {"the number of tokens"});
  }
  files.refuse_header(&CacheHeader::first_prompt, 76, {"the first prompt's length 76"});
  files.refuse_header(&CacheHeader::steps_since_selection, -1, {"the number of steps -1"});
  files.refuse_header(&CacheHeader::rows_to_selection, -1, {"rows to a selection -1"});
  files.refuse_header(&CacheHeader::rows_shared, -5, {"rows shared -5"});
  files.refuse_header(&CacheHeader::next_token, 32, {"token 32 is not from 0 to 31"});
  files.refuse_header(&CacheHeader::next_token, -1, {"token -1"});
  files.refuse_header(&CacheHeader::n_sampled, -1, {"tokens drawn -1"});
  for (const double value : {nan, -1.0, std::numeric_limits<double>::infinity()}) {
    files.refuse_header(&CacheHeader::meter, {.held = value}, {"a count of the meter is no count"});
  }
}

TEST_CASE("cache file refused: settings that no run has") {
  const RefusedFiles files;
  CacheBytes changed = files.bytes();
  changed.header.policy.fill('x');
  files.refuse(changed.sealed(), {"the policy's name has no end"});
  changed.header.policy = {'\x1b', 'n', 'o'};
  files.refuse(changed.sealed(), {"there is no --kv-policy '\\x1bno'"});
  files.refuse_header(&CacheHeader::policy, {'f', 'u', 'l', 'l'},
                      {"--kv-budget has no meaning with --kv-policy full"});
  files.refuse_header(&CacheHeader::budget_unit, 4, {"the budget's unit 4"});
  files.refuse_header(&CacheHeader::budget_unit, 0, {"needs --kv-budget"});
  for (const double amount : {0.0, -3.0, 1.5, 0x1p31, std::numeric_limits<double>::quiet_NaN(),
                              std::numeric_limits<double>::infinity()}) {
    files.refuse_header(&CacheHeader::budget, amount, {"the budget is out of range"});
  }
  files.refuse_header(&CacheHeader::budget, 2.0, {"--kv-budget 2 is too small"});
  files.refuse_header(&CacheHeader::sink, -2, {"sink -2"});
  files.refuse_header(&CacheHeader::sink, int64_t{1} << 31, {"sink 2147483648"});
  files.refuse_header(&CacheHeader::recent, 0, {"recent 0"});
  files.refuse_header(&CacheHeader::recompact, -1, {"recompact -1"});
  files.refuse_header(&CacheHeader::group_how, 5, {"the group's way 5"});
  files.refuse_header(&CacheHeader::flags, 8, {"flags 8"});
  // Rows that a method would not have dropped, or kept in this way.
  files.refuse_header(&CacheHeader::recompact, 4, {"has rings, and policy sage makes none"});
  CacheBytes full = files.bytes();
  full.header.policy = {'f', 'u', 'l', 'l'};
  full.header.budget_unit = 0;
  files.refuse(full.sealed(), {"has rings, and policy full makes none"});
  for (size_t head = 0; head < 4; ++head) {
    full.set<uint32_t>(full.layout.heads, 3 * head + 1, 0);
    full.set<uint32_t>(full.layout.heads, 3 * head + 2, 0);
  }
  CHECK_THROWS_AS(files.read(full.sealed()), Error);  // a ring without its turn is not in order
}

TEST_CASE("cache file refused: heads that do not fit their rows") {
  const RefusedFiles files;
  const auto rows = files.bytes().get<uint32_t>(files.bytes().layout.heads, 0);
  const auto ring = files.bytes().get<uint32_t>(files.bytes().layout.heads, 1);
  REQUIRE(files.bytes().get<uint32_t>(files.bytes().layout.heads, 2) == 5 % ring);
  for (const uint32_t n : {0U, 76U, 0x80000000U, ~0U}) {
    files.refuse_table(&CacheLayout::heads, 0, n, {"layer 0, KV head 0", "rows of a text of 75"});
  }
  files.refuse_table(&CacheLayout::heads, 1, rows + 1, {"layer 0, KV head 0: a ring of"});
  files.refuse_table(&CacheLayout::heads, 1, ~0U, {"layer 0, KV head 0: a ring of"});
  files.refuse_table(&CacheLayout::heads, 2, ring, {"that turned by"});
  files.refuse_table(&CacheLayout::heads, 2, ~0U, {"that turned by 4294967295"});
  files.refuse_table(&CacheLayout::heads, 2, 5 % ring == 0 ? 1U : 0U, {"has position"});
  // The last head takes one row more, or less, than there are.
  const auto last = files.bytes().get<uint32_t>(files.bytes().layout.heads, 9);
  files.refuse_table(&CacheLayout::heads, 9, last + 1,
                     {"layer 1, KV head 1: more rows than the file has"});
  files.refuse_table(&CacheLayout::heads, 9, last - 1, {"/c: "});
}

TEST_CASE("cache file refused: positions, masks and tokens") {
  const RefusedFiles files;
  files.refuse_table(&CacheLayout::positions, 0, int32_t{-1}, {"row 0 has position -1"});
  files.refuse_table(&CacheLayout::positions, 1, int32_t{0}, {"row 1 has position 0 after 0"});
  files.refuse_table(&CacheLayout::positions, 1, int32_t{75},
                     {"layer 0, KV head 0: row 1 has position 75 in a text of 75"});
  files.refuse_table(&CacheLayout::positions, 1, int32_t{74}, {"after 74"});
  files.refuse_table(&CacheLayout::masks, 3, uint32_t{0}, {"row 3 is seen by no query head"});
  files.refuse_table(&CacheLayout::masks, 3, uint32_t{4},
                     {"row 3 is seen by query heads beyond its group of 2"});
  files.refuse_table(&CacheLayout::masks, 3, uint32_t{0x80000001}, {"beyond its group of 2"});
  files.refuse_table(&CacheLayout::tokens, 9, int32_t{-1}, {"token 9 is -1"});
  files.refuse_table(&CacheLayout::tokens, 9, int32_t{32}, {"token 9 is 32", "has 32"});
  const CacheBytes sound = files.bytes();
  const auto token = sound.get<int32_t>(sound.layout.tokens, 9);
  files.refuse_table(&CacheLayout::seen, size_t(token), uint8_t{0}, {"not among those"});
  files.refuse_table(&CacheLayout::seen, size_t(token), uint8_t{2}, {"neither seen nor not"});
  CacheBytes other = files.bytes();
  std::string bytes = other.sealed();
  other.set<int32_t>(other.layout.tokens, 9, (token + 1) % 32);
  std::string hash_of_others = other.sealed();
  std::memcpy(&other.header, hash_of_others.data(), sizeof(CacheHeader));
  CacheHeader header = CacheBytes(bytes).header;
  header.tokens_hash = other.header.tokens_hash;
  header.header_crc = cache_header_crc(header);
  std::memcpy(bytes.data(), &header, sizeof(header));
  files.refuse(bytes, {"the hash of its tokens"});
}
