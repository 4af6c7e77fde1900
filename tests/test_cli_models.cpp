// Model directories that are incomplete, wrong or broken, met through the binary.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cstring>
#include <limits>
#include <string>

#include "tests/support/spm_model.h"
#include "tests/support/winnow_runs.h"

namespace winnow::test {
namespace {

constexpr const char* kLfsPointer =
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 1234567\n";

/// Every command that opens a model, with enough options to get that far.
std::vector<Words> commands(const std::string& dir, const std::string& npy) {
  return {{"generate", "-m", dir, "-p", "x"},
          {"logits", "-m", dir, "-p", "x", "-o", npy},
          {"bench", "-m", dir, "-p", "4", "-n", "0", "-r", "1"},
          {"inspect", "-m", dir},
          {"check", "-m", dir},
          {"tokenize", "-m", dir, "-p", "x"}};
}

Words generate_in(const TinyDir& dir) {
  return {"generate", "-m", dir.name(), "-p", "x", "-n", "3"};
}

/// A TinyDir in whose weights each tensor named in `tensors` holds `value` somewhere.
void spoil(const TinyDir& dir, const Words& names, float value) {
  TinyModel model;
  model.vocab_size = TinyDir::kVocabSize;
  std::vector<TestTensor> tensors = tiny_tensors(model);
  for (TestTensor& tensor : tensors) {
    if (std::ranges::count(names, tensor.name) == 0) continue;
    std::memcpy(&tensor.bytes[tensor.bytes.size() / 8 * 4], &value, sizeof(value));
  }
  write_safetensors(dir / "model.safetensors", tensors);
}

}  // namespace

TEST_CASE("cli models: a directory that is missing, or is a file, is named by every command") {
  const TempDir dir;
  write_file(dir / "file", "x");
  const std::string npy = (dir / "out.npy").string();
  for (const char* name : {"nowhere", "file", "file/inside"}) {
    const std::string path = (dir / name).string();
    for (const Words& command : commands(path, npy)) fails(command, 6, {path});
  }
  for (const char* name : {"/dev/null", "/proc/self/mem", "a\nb\tc", "\xff\xfe"}) {
    fails({"generate", "-m", name, "-p", "x"}, 6);
  }
  CHECK_FALSE(std::filesystem::exists(npy));
}

TEST_CASE("cli models: a directory without one of its files is rejected, naming the file") {
  struct Case {
    const char* file;
    std::string named;
    Words fine;  // the commands that do not need it
  };
  const Case cases[] = {
      {"config.json", "config.json", {"tokenize"}},
      {"model.safetensors", "model.safetensors", {"tokenize"}},
      {"tokenizer.model", "tokenizer.model", {"bench", "inspect"}},
  };
  for (const Case& c : cases) {
    const TinyDir tiny;
    std::filesystem::remove(tiny / c.file);
    for (const Words& command : commands(tiny.name(), (tiny / "out.npy").string())) {
      CAPTURE(c.file);
      if (std::ranges::count(c.fine, command[0]) > 0) {
        succeed(command);
      } else {
        fails(command, 3, {tiny.name(), c.named});
      }
    }
  }
  const TempDir empty;
  for (const Words& command : commands(empty.path().string(), (empty / "x.npy").string())) {
    fails(command, 3, {empty.path().string()});
  }
}

TEST_CASE("cli models: logits of ids need no tokenizer") {
  const TinyDir tiny;
  std::filesystem::remove(tiny / "tokenizer.model");
  succeed({"logits", "-m", tiny.name(), "--ids", "1,2,299", "-o", (tiny / "x.npy").string()});
}

TEST_CASE("cli models: git-LFS pointers are recognised in each file") {
  for (const char* file : {"config.json", "model.safetensors", "tokenizer.model"}) {
    CAPTURE(file);
    const TinyDir tiny;
    write_file(tiny / file, kLfsPointer);
    fails(generate_in(tiny), 3, {file, "git-LFS pointer", "git lfs pull"});
    const bool needed = std::string(file) != "config.json";
    if (std::string(file) == "tokenizer.model") {
      fails({"tokenize", "-m", tiny.name(), "-p", "x"}, 3, {file, "git-LFS pointer"});
    }
    if (needed) fails({"check", "-m", tiny.name()}, 3, {file, "git-LFS pointer"});
  }
  const TinyDir sharded({.sharded = true});
  write_file(sharded / "model-00002-of-00002.safetensors", kLfsPointer);
  fails(generate_in(sharded), 3, {"model-00002-of-00002.safetensors", "git-LFS pointer"});
  write_file(sharded / "model.safetensors.index.json", kLfsPointer);
  fails(generate_in(sharded), 3, {"model.safetensors.index.json", "git-LFS pointer"});
}

TEST_CASE("cli models: files that are cut, replaced or unreadable kinds are errors of one line") {
  struct Case {
    const char* file;
    std::string bytes;
  };
  const Case cases[] = {{"model.safetensors", ""},
                        {"model.safetensors", "1234567"},
                        {"model.safetensors", "<!DOCTYPE html><html></html>"},
                        {"model.safetensors", std::string(100, '\xff')},
                        {"config.json", ""},
                        {"config.json", "{"},
                        {"config.json", "[]"},
                        {"config.json", "\xff\xfe{}"},
                        {"tokenizer.model", ""},
                        {"tokenizer.model", "IQ== 0\nIg== 1\n"},
                        {"tokenizer.model", std::string(100, '\xff')},
                        {"tokenizer_config.json", "{\"add_bos_token\": 3}"}};
  for (const Case& c : cases) {
    const TinyDir tiny;
    write_file(tiny / c.file, c.bytes);
    fails(generate_in(tiny), 3, {c.file});
    fails({"check", "-m", tiny.name()}, 3, {c.file});
  }
  const TinyDir cut;
  const std::string weights = read_file(cut / "model.safetensors");
  for (const size_t size : {weights.size() - 1, weights.size() / 2, size_t{100}}) {
    write_file(cut / "model.safetensors", std::string_view(weights).substr(0, size));
    fails(generate_in(cut), 3, {"model.safetensors"});
  }
}

TEST_CASE("cli models: what is no file in the place of one is refused without waiting") {
  for (const char* file : {"config.json", "model.safetensors", "tokenizer.model"}) {
    CAPTURE(file);
    const TinyDir tiny;
    const std::filesystem::path path = tiny / file;
    const auto refuse = [&] {
      fails(generate_in(tiny), 6, {file});
      std::filesystem::remove_all(path);
    };
    std::filesystem::remove(path);
    REQUIRE(mkfifo(path.c_str(), 0600) == 0);
    refuse();
    std::filesystem::create_directory(path);
    refuse();
    std::filesystem::create_symlink("/dev/zero", path);
    refuse();
    std::filesystem::create_symlink(path, path);
    refuse();
    std::filesystem::create_symlink("nowhere", path);
    refuse();
  }
}

TEST_CASE("cli models: weights that are not finite stop a generation and fail the check by name") {
  struct Case {
    float value;
    const char* found;
  };
  const Case cases[] = {{std::numeric_limits<float>::quiet_NaN(), "1 NaN"},
                        {std::numeric_limits<float>::infinity(), "1 infinite"}};
  for (const Case& c : cases) {
    const TinyDir tiny;
    spoil(tiny, {"model.norm.weight"}, c.value);
    fails(generate_in(tiny), 1, {"logits are not finite", "token 1"});
    fails({"check", "-m", tiny.name()}, 3, {"'model.norm.weight'", c.found});
  }
  const TinyDir two;
  spoil(two, {"model.norm.weight", "model.layers.1.mlp.up_proj.weight"}, NAN);
  fails({"check", "-m", two.name()}, 3,
        {"2 tensor(s)", "'model.norm.weight'", "'model.layers.1.mlp.up_proj.weight'"});
  succeed({"inspect", "-m", two.name()});
}

TEST_CASE("cli models: a tokenizer with more pieces than the embedding has rows is rejected") {
  const TinyDir tiny;
  Words pieces = TinyDir::pieces();
  for (int i = 0; i < 36; ++i) pieces.push_back("p" + std::to_string(i));
  write_file(tiny / "tokenizer.model", serialize_spm_file(small_spm(pieces)));
  for (const Words& run : {generate_in(tiny), Words{"check", "-m", tiny.name()}}) {
    fails(run, 3, {tiny.name(), "301", "300"});
  }
  pieces.pop_back();
  write_file(tiny / "tokenizer.model", serialize_spm_file(small_spm(pieces)));
  succeed(generate_in(tiny));
}

TEST_CASE("cli models: without any token that ends a text, -n does") {
  const TinyDir tiny;
  SpmFile endless = small_spm(TinyDir::pieces());
  endless.eos = -1;
  write_file(tiny / "tokenizer.model", serialize_spm_file(endless));
  const Finished run = succeed(joined(generate_in(tiny), {"-v"}));
  CHECK(run.err.find("no end-of-text token") != std::string::npos);
  CHECK(json_result(generate_in(tiny))["tokens"].size() == 3);
}

TEST_CASE("cli models: ids without a piece are never drawn") {
  const TinyDir tiny;
  const int64_t n_pieces = 259 + static_cast<int64_t>(TinyDir::pieces().size());
  const OrderedJson json = json_result({"generate", "-m", tiny.name(), "-p", "x", "-n", "-1",
                                        "--temp", "100", "--seed", "1", "--ignore-eos"});
  CHECK(json["tokens"].size() > 100);
  for (const OrderedJson& token : json["tokens"]) CHECK(token.get<int64_t>() < n_pieces);
}

TEST_CASE("cli models: tensors that do not fit the configuration are listed") {
  const TinyDir tiny;
  write_file(tiny / "config.json",
             tiny_config_json({.n_layers = 3, .vocab_size = TinyDir::kVocabSize}));
  fails(generate_in(tiny), 3, {"9 missing", "model.layers.2."});
  write_file(tiny / "config.json",
             tiny_config_json({.n_layers = 1, .vocab_size = TinyDir::kVocabSize}));
  fails(generate_in(tiny), 3, {"9 unexpected", "model.layers.1."});
  write_file(tiny / "config.json", tiny_config_json({.vocab_size = 299}));
  fails(generate_in(tiny), 3, {"model.embed_tokens.weight", "[300, 16]", "[299, 16]"});
}

TEST_CASE("cli models: a GPU is asked for where there is none") {
  const TinyDir tiny;
  fails(joined(generate_in(tiny), {"--device", "cuda"}), 5);
  fails({"bench", "-m", kDemo, "--device", "cuda"}, 5);
  const std::string npy = (tiny / "out.npy").string();
  fails({"logits", "-m", tiny.name(), "-p", "x", "-o", npy, "--device", "cuda"}, 5);
  CHECK_FALSE(std::filesystem::exists(npy));
  succeed(joined(generate_in(tiny), {"--device", "auto"}));
}

TEST_CASE("cli models: stories260K writes its golden text") {
  const std::filesystem::path dir = "../shared/data/models/stories260K";
  if (!std::filesystem::exists(dir)) {
    MESSAGE("skipped: no ", dir.string());
    return;
  }
  const OrderedJson json =
      json_result({"generate", "-m", dir.string(), "-p", "", "-n", "200", "--temp", "0"});
  std::string golden = read_file(dir / "golden-greedy-200.txt");
  if (golden.ends_with('\n')) golden.pop_back();
  std::istringstream ids(read_file(dir / "golden-greedy-200-ids.txt"));
  std::vector<int32_t> expected;
  for (std::string word; std::getline(ids, word, ',');) {
    std::istringstream numbers(word);
    for (int32_t id = 0; numbers >> id;) expected.push_back(id);
  }
  CHECK(json["text"] == golden);
  CHECK(json["tokens"].get<std::vector<int32_t>>() == expected);
}

}  // namespace winnow::test
