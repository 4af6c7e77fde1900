// --kv-heads through the binary, over the bundled model.
#include <doctest/doctest.h>

#include <string>

#include "tests/support/temp_dir.h"
#include "tests/support/winnow_runs.h"

using namespace winnow::test;

namespace {

/// A file for the bundled model, whose heads are full where (layer + head) % 3 == 0.
struct MaskFile {
  TempDir dir;
  std::string path = (dir / "heads.tsv").string();
  int64_t layers = 0;
  int64_t heads = 0;

  MaskFile() {
    const OrderedJson config = json_of(read_file("weights/demo/config.json"));
    layers = config["num_hidden_layers"];
    heads = config["num_key_value_heads"];
    std::string text;
    for (int64_t l = 0; l < layers; ++l) {
      for (int64_t h = 0; h < heads; ++h) {
        text += (h == 0 ? "" : "\t") + std::string(full(l, h) ? "0.9" : "0.1");
      }
      text += "\n";
    }
    write_file(path, text);
  }
  static bool full(int64_t l, int64_t h) { return (l + h) % 3 == 0; }
};

Words demo(const Words& more) {
  return joined({"generate", "-m", "weights/demo", "--device", "cpu"}, more);
}

}  // namespace

TEST_CASE("cli: streaming heads keep few rows, full heads all, in both orders and over two texts") {
  const MaskFile mask;
  const Words base =
      demo({"-p", story(20), "--then", story(3), "-n", "30", "--ignore-eos", "--kv-heads",
            mask.path, "--kv-heads-sink", "4", "--kv-heads-window", "60"});
  const KeptRun layers = kept_run(base);
  const std::vector<int64_t> rows = layers.rows();
  REQUIRE(std::ssize(rows) == mask.layers * mask.heads);
  const int64_t n_text = layers.json["prompt_tokens"];
  for (int64_t i = 0; i < std::ssize(rows); ++i) {
    const bool full = MaskFile::full(i / mask.heads, i % mask.heads);
    CHECK(rows[size_t(i)] == (full ? n_text : 64));
  }
  CHECK(layers.json["kv"]["budget"].is_null());
  const KeptRun chunks = kept_run(joined(base, {"--prefill", "chunk", "--evict-chunk", "100"}));
  CHECK(chunks.rows() == rows);
  CHECK(chunks.json["text"] == layers.json["text"]);
  CHECK(chunks.json["kv"]["footprint"] < layers.json["kv"]["footprint"]);
}

TEST_CASE("cli: a policy rules the full heads") {
  const MaskFile mask;
  const KeptRun run =
      kept_run(demo({"-p", story(20), "-n", "8", "--kv-policy", "snapkv", "--kv-budget", "100",
                     "--kv-heads", mask.path, "--kv-heads-sink", "4", "--kv-heads-window", "60"}));
  const std::vector<int64_t> rows = run.rows();
  for (int64_t i = 0; i < std::ssize(rows); ++i) {
    const bool full = MaskFile::full(i / mask.heads, i % mask.heads);
    CHECK(rows[size_t(i)] == (full ? 100 : 64));
  }
}

TEST_CASE("cli: a mask that makes all heads full changes nothing") {
  const MaskFile mask;
  const Words base = demo({"-p", story(8), "-n", "8"});
  const Words all = joined(base, {"--kv-heads", mask.path, "--kv-heads-threshold", "0"});
  CHECK(json_result(base)["logits_hash"] == json_result(all)["logits_hash"]);
}

TEST_CASE("cli: --kv-heads is refused in one line, with the code that the cause has") {
  const MaskFile mask;
  const Words base = demo({"-p", "x", "-n", "1"});
  fails(joined(base, {"--kv-heads", mask.path + "-none"}), 6, {"heads.tsv-none"});
  fails(joined(base, {"--kv-heads", mask.dir.path().string()}), 6, {"is a directory"});
  fails(joined(base, {"--kv-heads", ""}), 2, {"--kv-heads"});
  fails(joined(base, {"--kv-heads-sink", "4"}), 2, {"--kv-heads-sink", "--kv-heads FILE.tsv"});
  fails(joined(base, {"--kv-heads-window", "4"}), 2, {"--kv-heads-window"});
  fails(joined(base, {"--kv-heads-threshold", "0.4"}), 2, {"--kv-heads-threshold"});
  const Words masked = joined(base, {"--kv-heads", mask.path});
  fails(joined(masked, {"--kv-heads-threshold", "1.5"}), 2, {"from 0 to 1", "1.5"});
  fails(joined(masked, {"--kv-heads-window", "0"}), 2, {"--kv-heads-window"});
  fails(joined(masked, {"--cache-save", (mask.dir / "c").string()}), 2,
        {"--cache-save", "--kv-heads"});
  fails(joined(masked, {"--kv-policy", "sage", "--kv-budget", "64", "--kv-positions", "cache"}), 2,
        {"--kv-positions cache", "--kv-heads"});
  for (const std::string policy : {"h2o", "quest"}) {
    fails(joined(masked, {"--kv-policy", policy, "--kv-budget", "64"}), 2, {policy, "--kv-heads"});
  }
  write_file(mask.path, "1\t0\n");
  fails(masked, 3, {"heads.tsv: number of lines is 1"});
  fails({"chat", "-m", "weights/demo", "--device", "cpu", "--kv-heads", mask.path}, 3,
        {"heads.tsv: number of lines is 1"});
}

TEST_CASE("cli: a saved cache has no streaming heads") {
  const MaskFile mask;
  const std::string cache = (mask.dir / "cache").string();
  json_result(demo({"-p", story(2), "-n", "1", "--cache-save", cache}));
  fails(demo({"-n", "1", "--cache-load", cache, "--kv-heads", mask.path}), 2,
        {"--kv-heads", "--cache-load"});
  fails(demo({"-n", "1", "--cache-load", cache, "--kv-heads-sink", "3"}), 2, {"--kv-heads-sink"});
}

TEST_CASE("cli: eval compares streaming heads with the full cache") {
  const MaskFile mask;
  write_file(mask.dir / "text", story(30));
  const OrderedJson result = json_result({"eval",
                                          "-m",
                                          "weights/demo",
                                          "--device",
                                          "cpu",
                                          "ppl",
                                          "-f",
                                          (mask.dir / "text").string(),
                                          "--prefix",
                                          "300",
                                          "--score",
                                          "20",
                                          "--samples",
                                          "1",
                                          "--kv-policy",
                                          "full,sage",
                                          "--kv-budget",
                                          "100",
                                          "--kv-heads",
                                          mask.path,
                                          "--kv-heads-sink",
                                          "4",
                                          "--kv-heads-window",
                                          "40"});
  REQUIRE(result["rows"].size() == 2);
  CHECK(result["rows"][0]["kl"] > 0);  // to heads that see every row
  CHECK(result["rows"][0]["rows_kept"] < 320 * mask.layers * mask.heads);
  CHECK(result["rows"][1]["rows_kept"] < result["rows"][0]["rows_kept"]);
}
