// tokenize, inspect, check and logits: what they write, and in which forms.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>
#include <string>

#include "tests/npy.h"
#include "tests/support/numbers.h"
#include "tests/support/spm_model.h"
#include "tests/support/winnow_runs.h"

namespace winnow::test {
namespace {

std::set<std::string> keys_of(const OrderedJson& json) {
  std::set<std::string> keys;
  for (const auto& [key, value] : json.items()) keys.insert(key);
  return keys;
}

}  // namespace

TEST_CASE("cli tokenize: a line a token, or one object of tokens and pieces") {
  const TinyDir tiny;
  const Words run = {"tokenize", "-m", tiny.name(), "-p", "x xab\nq"};
  const OrderedJson json = json_of(succeed(joined(run, {"--json"})).out);
  CHECK(keys_of(json) == std::set<std::string>{"tokens", "pieces"});
  REQUIRE(json["tokens"].size() == json["pieces"].size());
  // Ids behind the 259 control and byte pieces, in the order of TinyDir::pieces().
  CHECK(json["tokens"].dump() == "[259,259,262,263,264,116]");
  CHECK(json["pieces"][5] == "<0x71>");

  std::string text;
  for (size_t i = 0; i < json["tokens"].size(); ++i) {
    text += json["tokens"][i].dump() + "\t" + json["pieces"][i].dump() + "\n";
  }
  CHECK(succeed(run).out == text);
  const TempDir dir;
  const std::string file = (dir / "tokens").string();
  CHECK(succeed(joined(run, {"-o", file})).out.empty());
  CHECK(read_file(file) == text);
}

TEST_CASE("cli tokenize: no BOS unless it is asked for") {
  const TinyDir tiny;
  const auto tokens = [&](const Words& more) {
    const Words run = {"tokenize", "-m", tiny.name(), "--json", "-p", "x"};
    return json_of(succeed(joined(run, more)).out)["tokens"].dump();
  };
  CHECK(tokens({}) == "[259]");
  CHECK(tokens({"--bos", "no"}) == "[259]");
  CHECK(tokens({"--bos", "yes"}) == "[1,259]");
  CHECK(tokens({"--bos", "auto"}) == "[1,259]");
  write_file(tiny / "tokenizer_config.json", R"({"add_bos_token": false})");
  CHECK(tokens({"--bos", "auto"}) == "[259]");
  CHECK(tokens({"--bos", "yes"}) == "[1,259]");

  SpmFile without_bos = small_spm(TinyDir::pieces());
  without_bos.bos = -1;
  write_file(tiny / "tokenizer.model", serialize_spm_file(without_bos));
  CHECK(tokens({"--bos", "auto"}) == "[259]");
  fails({"tokenize", "-m", tiny.name(), "-p", "x", "--bos", "yes"}, 2, {"BOS"});
  fails({"generate", "-m", tiny.name(), "-p", "x", "--bos", "yes"}, 2, {"BOS"});
  fails({"generate", "-m", tiny.name(), "-p", ""}, 2, {"empty prompt", "BOS"});
}

TEST_CASE("cli tokenize: every byte of a file counts") {
  const TinyDir tiny;
  const TempDir dir;
  const std::string texts[] = {"", "a\r\nb\n\n", std::string("a\0b", 3), "\xef\xbb\xbf\x61", "a "};
  for (const std::string& text : texts) {
    write_file(dir / "text", text);
    const Words base = {"tokenize", "-m", tiny.name(), "--json"};
    const std::string from_file = succeed(joined(base, {"-f", (dir / "text").string()})).out;
    CHECK(from_file == succeed({.arguments = base, .input = text}).out);
    const OrderedJson json = json_of(from_file);
    const size_t n_bytes = text.empty() ? 0 : text.size();
    // Pieces of one byte each; the space that opens a text is a piece, too.
    CHECK(json["tokens"].size() == (text.empty() ? 0 : n_bytes + 1));
  }
}

TEST_CASE("cli inspect: configuration, tensors and the memory plan for a context") {
  const OrderedJson json = json_of(succeed({"inspect", "-m", kDemo, "--json"}).out);
  CHECK(keys_of(json) == std::set<std::string>{"config", "stop_ids", "tensors", "memory"});
  CHECK(json["config"]["hidden_size"] == 384);
  CHECK(json["config"]["num_key_value_heads"] == 2);
  CHECK(json["stop_ids"].dump() == "[2]");
  CHECK(json["tensors"].size() == 8 * 9 + 2);
  for (const OrderedJson& tensor : json["tensors"]) {
    CHECK(keys_of(tensor) == std::set<std::string>{"name", "dtype", "shape", "bytes", "file"});
    CHECK(tensor["dtype"] == "BF16");
  }
  const OrderedJson& memory = json["memory"];
  CHECK(memory["context"] == 32768);
  CHECK(memory["total"] == memory["weights"].get<int64_t>() + memory["kv"].get<int64_t>() +
                               memory["scratch"].get<int64_t>());
  const int64_t per_token = memory["kv_per_token"].get<int64_t>();
  CHECK(memory["kv"].get<int64_t>() / 32768 == per_token);

  const OrderedJson small = json_of(succeed({"inspect", "-m", kDemo, "--json", "-c", "1000"}).out);
  CHECK(small["memory"]["context"] == 1000);
  CHECK(small["memory"]["weights"] == memory["weights"]);
  CHECK(small["memory"]["total"] < memory["total"]);

  const std::string text = succeed({"inspect", "-m", kDemo}).out;
  for (const char* part : {"config\n", "hidden_size", "384", "tensors\n", "BF16", "memory on cpu",
                           "'model.layers.7.mlp.up_proj.weight'", "[960,384]"}) {
    CHECK(text.find(part) != std::string::npos);
  }
}

TEST_CASE("cli inspect and check: contexts that no machine holds are no error") {
  const TinyDir huge({.max_positions = 1000000000000});
  const OrderedJson json = json_of(succeed({"inspect", "-m", huge.name(), "--json"}).out);
  CHECK(json["memory"]["total"] > json["memory"]["available"]);
  succeed({"inspect", "-m", kDemo, "-c", "2147483647"});
  succeed({"check", "-m", huge.name()});
}

TEST_CASE("cli check: one line that begins with ok") {
  const std::string out = succeed({"check", "-m", kDemo}).out;
  CHECK(lines_of(out).size() == 1);
  CHECK(out.starts_with("ok: 8 layers, 74 tensors, "));
  const TinyDir sharded({.sharded = true});
  CHECK(succeed({"check", "-m", sharded.name()}).out.starts_with("ok: 2 layers"));
}

TEST_CASE("cli logits: float32 [tokens, vocab], however many rows go at once") {
  const TempDir dir;
  const std::string path = (dir / "logits.npy").string();
  const auto logits = [&](const Words& more) {
    const Finished done = succeed(joined({"logits", "-m", kDemo, "-o", path}, more));
    CHECK(done.out.empty());
    return read_npy<float>(path);
  };
  const NpyArray<float> whole = logits({"-p", "It was a dark night, and nobody came."});
  REQUIRE(whole.shape.size() == 2);
  CHECK(whole.shape[0] > 8);
  CHECK(whole.shape[1] == 4096);
  for (const char* rows : {"1", "3", "1000"}) {
    const NpyArray<float> pieces = logits(
        {"-p", "It was a dark night, and nobody came.", "--prefill-rows", rows, "--threads", "1"});
    CHECK(pieces.shape == whole.shape);
    CHECK(max_difference(pieces.values, whole.values) < 1e-3);
    CHECK(nmse(pieces.values, whole.values) < 1e-10);
  }
  const OrderedJson tokens = json_of(
      succeed({"tokenize", "-m", kDemo, "--bos", "auto", "--json", "-p", "It was a dark"}).out);
  std::string ids = tokens["tokens"].dump();
  ids = ids.substr(1, ids.size() - 2);
  const bool same = logits({"--ids", ids}).values == logits({"-p", "It was a dark"}).values;
  CHECK(same);
  CHECK(logits({"--ids", "1"}).shape[0] == 1);
}

TEST_CASE("cli logits: what is refused leaves an older file as it was") {
  const TempDir dir;
  const std::string path = (dir / "logits.npy").string();
  write_file(path, "older");
  const auto refuse = [&](const Words& more, int code) {
    fails(joined({"logits", "-m", kDemo, "-o", path}, more), code);
    CHECK(read_file(path) == "older");
  };
  refuse({"--ids", "1,4096"}, 2);
  refuse({"--ids", "1,-1"}, 2);
  refuse({"--ids", "1,,2"}, 2);
  refuse({"--ids", "1", "-p", "x"}, 2);
  refuse({"-p", "It was a dark night", "-c", "3"}, 7);
  refuse({"--ids", "1,2,3", "-c", "2"}, 7);
  fails({"logits", "-m", kDemo, "-p", "x"}, 2, {"-o FILE"});
  fails({"logits", "-m", kDemo, "-p", "x", "-o", "/dev/full"}, 6, {"/dev/full"});
  CHECK(std::distance(std::filesystem::directory_iterator(dir.path()), {}) == 1);
}

}  // namespace winnow::test
