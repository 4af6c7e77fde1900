#include <doctest/doctest.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include "tests/support/expect_error.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"
#include "weights/checkpoint.h"

namespace winnow {
namespace {

using test::expect_error;
using test::TempDir;
using test::TestTensor;
using test::TinyModel;
using test::write_file;

constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kShard1 = "model-00001-of-00002.safetensors";
constexpr const char* kShard2 = "model-00002-of-00002.safetensors";

TestTensor tensor(const std::string& name, float value) {
  return {name, DType::kF32, {1}, test::encode(DType::kF32, {value})};
}

/// Tensors a and b in the first shard, c in the second; `map` is the index's weight_map.
void write_two_shards(const TempDir& dir, const std::string& map) {
  test::write_safetensors(dir / kShard1, {tensor("a", 1), tensor("b", 2)});
  test::write_safetensors(dir / kShard2, {tensor("c", 3)});
  write_file(dir / kIndex, R"({"metadata":{"total_size":12},"weight_map":)" + map + "}");
}

std::string map_of(const std::vector<std::pair<std::string, std::string>>& places) {
  std::string text;
  for (const auto& [name, shard] : places) {
    text += (text.empty() ? "{\"" : ",\"") + name + "\":\"" + shard + "\"";
  }
  return text + "}";
}

void expect_rejected(const TempDir& dir, std::initializer_list<std::string_view> parts) {
  expect_error(ExitCode::kModel, parts, [&] { open_checkpoint(dir.path()); });
}

void expect_unreadable(const std::filesystem::path& dir, std::string_view path,
                       std::string_view cause) {
  expect_error(ExitCode::kIo, {path, cause}, [&] { open_checkpoint(dir); });
}

/// The values of one tensor, as its bytes on disk say.
std::string stored_bytes(const Checkpoint& checkpoint, const std::string& name) {
  const Checkpoint::Entry& entry = checkpoint.tensors.at(name);
  std::string bytes(entry.info.bytes, '\0');
  checkpoint.files[entry.file].read_at(entry.info.offset,
                                       std::as_writable_bytes(std::span<char>(bytes)));
  return bytes;
}

TEST_CASE("checkpoint: tensors come back as they were written, in one file or in shards") {
  for (const bool sharded : {false, true}) {
    for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
      CAPTURE(sharded);
      TinyModel model;
      model.sharded = sharded;
      model.type = type;
      const TempDir dir;
      test::write_tiny_model(dir.path(), model);
      const Checkpoint checkpoint = open_checkpoint(dir.path());
      CHECK(checkpoint.files.size() == (sharded ? 2 : 1));
      CHECK(checkpoint.notes.empty());
      const std::vector<TestTensor> written = test::tiny_tensors(model);
      CHECK(checkpoint.tensors.size() == written.size());
      for (const TestTensor& expected : written) {
        REQUIRE(checkpoint.tensors.contains(expected.name));
        const TensorInfo& info = checkpoint.tensors.at(expected.name).info;
        CHECK(info.name == expected.name);
        CHECK(info.type == type);
        CHECK(info.shape == expected.shape);
        CHECK(stored_bytes(checkpoint, expected.name) == expected.bytes);
      }
    }
  }
}

TEST_CASE("checkpoint: a single file is taken before an index, with a note") {
  const TempDir dir;
  write_two_shards(dir, "{}");
  test::write_safetensors(dir / "model.safetensors", {tensor("only", 1)});
  const Checkpoint checkpoint = open_checkpoint(dir.path());
  CHECK(checkpoint.tensors.size() == 1);
  REQUIRE(checkpoint.notes.size() == 1);
  CHECK(checkpoint.notes[0].find(kIndex) != std::string::npos);
}

TEST_CASE("checkpoint: a wrong total_size is a note") {
  const TempDir dir;
  write_two_shards(dir, "{}");
  write_file(dir / kIndex, R"({"metadata":{"total_size":99},"weight_map":)" +
                               map_of({{"a", kShard1}, {"b", kShard1}, {"c", kShard2}}) + "}");
  const Checkpoint checkpoint = open_checkpoint(dir.path());
  REQUIRE(checkpoint.notes.size() == 1);
  CHECK(checkpoint.notes[0].find("99") != std::string::npos);
  CHECK(checkpoint.notes[0].find("12") != std::string::npos);
}

TEST_CASE("checkpoint: shards are bare file names") {
  using namespace std::string_literals;
  for (const std::string& shard :
       {"../../x"s, "/etc/passwd"s, "a/b.safetensors"s, ".."s, ""s, "x\\u0000.safetensors"s,
        ".hidden.safetensors"s, "..safetensors"s, ".safetensors"s, "model.bin"s,
        "../m.safetensors"s, "a b.safetensors"s, "a\\\\b.safetensors"s}) {
    CAPTURE(shard);
    const TempDir dir;
    write_two_shards(dir, map_of({{"a", kShard1}, {"b", kShard1}, {"c", shard}}));
    expect_rejected(dir, {kIndex, "'c'", "not a bare file name"});
  }
}

TEST_CASE("checkpoint: the index and the shards must agree") {
  const auto rejected = [](const std::string& map, std::initializer_list<std::string_view> parts) {
    const TempDir dir;
    write_two_shards(dir, map);
    expect_rejected(dir, parts);
  };
  rejected(map_of({{"a", kShard1}, {"b", kShard1}, {"c", "model-3.safetensors"}}),
           {"model-3.safetensors: missing", "'c'"});
  rejected(map_of({{"a", kShard1}, {"b", kShard1}, {"c", kShard2}, {"d", kShard2}}),
           {kIndex, "'d' is not in its shard", kShard2});
  rejected(map_of({{"a", kShard1}, {"c", kShard2}}), {kIndex, "'b'", kShard1, "not in weight_map"});
  rejected(map_of({{"a", kShard1}, {"b", kShard2}, {"c", kShard2}}),
           {kIndex, "'b' should be in", kShard2, kShard1});
  rejected(map_of({{"a", kShard1}, {"a", kShard2}}), {kIndex, "duplicate key 'a'"});
  rejected("{}", {kIndex, "weight_map is empty"});
  rejected("[]", {kIndex, "weight_map"});
  rejected(R"({"a":1})", {kIndex, "'a'", "no string"});
}

TEST_CASE("checkpoint: no tensor is in two shards") {
  const TempDir dir;
  write_two_shards(dir, map_of({{"a", kShard1}, {"b", kShard1}, {"c", kShard2}}));
  test::write_safetensors(dir / kShard2, {tensor("c", 3), tensor("a", 1)});
  expect_rejected(dir, {kShard2, "'a' is also in", kShard1});
}

TEST_CASE("checkpoint: an index that is malformed or too large is rejected") {
  const TempDir dir;
  write_two_shards(dir, "{}");
  write_file(dir / kIndex, "");
  expect_rejected(dir, {kIndex, ":1:1: "});
  write_file(dir / kIndex, "{\"weight_map\": {");
  expect_rejected(dir, {kIndex, ":1:16: "});
  write_file(dir / kIndex, "[]");
  expect_rejected(dir, {kIndex, "weight_map"});
  write_file(dir / kIndex, "version https://git-lfs.github.com/spec/v1\n");
  expect_rejected(dir, {kIndex, "git-LFS"});
  std::filesystem::resize_file(dir / kIndex, (uint64_t{64} << 20) + 1);  // sparse
  expect_rejected(dir, {kIndex, "67108865", "67108864"});
}

TEST_CASE("checkpoint: a broken shard is named") {
  const TempDir dir;
  write_two_shards(dir, map_of({{"a", kShard1}, {"b", kShard1}, {"c", kShard2}}));
  write_file(dir / kShard2, "version https://git-lfs.github.com/spec/v1\noid sha256:0\n");
  expect_rejected(dir, {kShard2, "git-LFS pointer"});
}

TEST_CASE("checkpoint: a directory without weights is rejected, pickles with a hint") {
  const TempDir dir;
  expect_rejected(dir, {dir.path().string(), "model.safetensors"});
  write_file(dir / "pytorch_model.bin", "x");
  expect_rejected(dir, {dir.path().string(), "pytorch_model.bin", "convert"});
}

TEST_CASE("checkpoint: paths that are no readable directories or files end with the I/O code") {
  const TempDir dir;
  expect_unreadable(dir / "missing", "missing", "no such directory");
  write_file(dir / "file", "x");
  expect_unreadable(dir / "file", "file", "pass the model's directory");

  std::filesystem::create_directory(dir / "model.safetensors");
  expect_unreadable(dir.path(), "model.safetensors", "is a directory");
  std::filesystem::remove(dir / "model.safetensors");
  REQUIRE(::mkfifo((dir / "model.safetensors").c_str(), 0600) == 0);
  expect_unreadable(dir.path(), "model.safetensors", "not a regular file");
  std::filesystem::remove(dir / "model.safetensors");
  std::filesystem::create_symlink("nowhere", dir / "model.safetensors");
  expect_unreadable(dir.path(), "model.safetensors", "cannot open");
}

TEST_CASE("checkpoint: a shard may be a link to elsewhere") {
  const TempDir dir;
  const TempDir elsewhere;
  write_two_shards(dir, map_of({{"a", kShard1}, {"b", kShard1}, {"c", kShard2}}));
  std::filesystem::rename(dir / kShard2, elsewhere / "blob");
  std::filesystem::create_symlink(elsewhere / "blob", dir / kShard2);
  CHECK(open_checkpoint(dir.path()).tensors.size() == 3);
}

}  // namespace
}  // namespace winnow
