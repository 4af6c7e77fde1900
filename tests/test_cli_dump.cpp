// --dump: what every step leaves, as .npy files that fit together and with what comes out.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/npy.h"
#include "tests/support/winnow_runs.h"

namespace winnow::test {
namespace {

using Shape = std::vector<int64_t>;

struct Dump {
  TempDir dir;

  std::string folder() const { return (dir / "dump").string(); }
  NpyArray<float> read(const std::string& name) const {
    return read_npy<float>(dir / ("dump/" + name + ".npy"));
  }
  bool has(const std::string& name) const {
    return std::filesystem::exists(dir / ("dump/" + name + ".npy"));
  }
};

/// Every file of a pass over `n` rows of a TinyDir, by its shape. Logits are of a prompt's last
/// pass.
void check_shapes(const Dump& dump, const std::string& folder, int64_t n,
                  const std::vector<std::string>& layers) {
  const auto check = [&](const std::string& name, const Shape& shape) {
    CAPTURE(name);
    const auto array = dump.read(folder + name);
    CHECK(array.shape == shape);
    CHECK(std::ranges::all_of(array.values, [](float x) { return std::isfinite(x); }));
  };
  check("embed", {n, 16});
  if (dump.has(folder + "logits")) check("logits", {1, TinyDir::kVocabSize});
  for (const std::string& layer : layers) {
    check(layer + ".qkv.q", {n, 4, 8});
    check(layer + ".qkv.k", {n, 2, 8});
    check(layer + ".qkv.v", {n, 2, 8});
    check(layer + ".attention", {n, 4, 8});
    check(layer + ".attention_output", {n, 16});
    check(layer + ".gate_up", {n, 24});
    check(layer + ".down", {n, 16});
  }
}

}  // namespace

TEST_CASE("cli dump: every step of the prompt and of each token, in its shape") {
  const TinyDir tiny;
  const Dump dump;
  succeed({"generate", "-m", tiny.name(), "-p", text_of(9), "-n", "3", "--ignore-eos", "--dump",
           dump.folder()});
  const std::vector<std::string> layers = {"layer_00", "layer_01"};
  check_shapes(dump, "", 10, layers);
  CHECK(dump.has("logits"));
  CHECK(dump.has("token_0001/logits"));
  check_shapes(dump, "token_0001/", 1, layers);
  check_shapes(dump, "token_0002/", 1, layers);
  CHECK_FALSE(dump.has("token_0003/embed"));  // the third token goes through no network
}

TEST_CASE("cli dump: chunks make one file, of the same numbers") {
  const TinyDir tiny;
  const Dump whole;
  const Dump chunked;
  const Words run = {"generate", "-m", tiny.name(), "-p", text_of(9), "-n", "0", "--dump"};
  succeed(joined(run, {whole.folder()}));
  succeed(joined(run, {chunked.folder(), "--prefill-rows", "4"}));
  int64_t n = 0;
  for (const auto& entry : std::filesystem::directory_iterator(whole.folder())) {
    const auto a = read_npy<float>(entry.path());
    const auto b =
        read_npy<float>(std::filesystem::path(chunked.folder()) / entry.path().filename());
    CAPTURE(entry.path().string());
    CHECK(a.shape == b.shape);
    REQUIRE(a.values.size() == b.values.size());
    for (size_t i = 0; i < a.values.size(); ++i) {
      CHECK(a.values[i] == doctest::Approx(b.values[i]).epsilon(1e-4));
    }
    ++n;
  }
  CHECK(n == 2 + 2 * 9);
}

TEST_CASE("cli dump: the rows of keys are those of the cache, the logits those of the command") {
  const TinyDir tiny;
  const Dump dump;
  const std::string file = (dump.dir / "logits.npy").string();
  succeed({"generate", "-m", tiny.name(), "-p", text_of(9), "-n", "0", "--dump", dump.folder()});
  const auto cache = dump.read("layer_01.k");     // [n_kv_heads, rows, head_dim]
  const auto rows = dump.read("layer_01.qkv.k");  // [rows, n_kv_heads, head_dim]
  for (int64_t h = 0; h < 2; ++h) {
    for (int64_t i = 0; i < 10; ++i) {
      for (int64_t d = 0; d < 8; ++d) {
        CHECK(cache.values[static_cast<size_t>((h * 10 + i) * 8 + d)] ==
              rows.values[static_cast<size_t>((i * 2 + h) * 8 + d)]);
      }
    }
  }
  // logits dumps the same, and its own file ends with the same row.
  const Dump other;
  succeed({"logits", "-m", tiny.name(), "-p", text_of(9), "-o", file, "--dump", other.folder()});
  const auto all = read_npy<float>(file);
  const auto last = other.read("logits");
  REQUIRE(all.values.size() == 10 * last.values.size());
  const size_t before = all.values.size() - last.values.size();
  for (size_t i = 0; i < last.values.size(); ++i) {
    CHECK(last.values[i] == doctest::Approx(all.values[before + i]).epsilon(1e-4));
  }
  CHECK(last.values == dump.read("logits").values);
  for (const char* name : {"embed", "layer_00.attention", "layer_01.gate_up", "layer_01.down"}) {
    CHECK(other.read(name).values == dump.read(name).values);
  }
}

TEST_CASE("cli dump: x grows by what the steps add: a residual stream") {
  const TinyDir tiny;
  const Dump dump;
  succeed({"generate", "-m", tiny.name(), "-p", text_of(9), "-n", "0", "--dump", dump.folder()});
  const auto embedded = dump.read("embed").values;
  const auto attended = dump.read("layer_00.attention_output").values;
  const auto down = dump.read("layer_00.down").values;
  CHECK(embedded != attended);
  CHECK(attended != down);
  // Attention over a single row is that row's value.
  const auto v = dump.read("layer_00.qkv.v").values;
  const auto attention = dump.read("layer_00.attention").values;
  for (size_t head = 0; head < 4; ++head) {
    for (size_t d = 0; d < 8; ++d) {
      CHECK(attention[head * 8 + d] == doctest::Approx(v[head / 2 * 8 + d]).epsilon(1e-5));
    }
  }
}

TEST_CASE("cli dump: layers that are asked for, and what cannot be written") {
  const TinyDir tiny({.n_layers = 3});
  const Dump dump;
  const Words run = {"generate", "-m", tiny.name(), "-p", text_of(5), "-n", "2", "--ignore-eos"};
  succeed(joined(run, {"--dump", dump.folder(), "--dump-layers", "1"}));
  check_shapes(dump, "", 6, {"layer_01"});
  check_shapes(dump, "token_0001/", 1, {"layer_01"});
  for (const char* other : {"layer_00.down", "layer_02.down", "token_0001/layer_00.qkv.q"}) {
    CHECK_FALSE(dump.has(other));
  }
  fails(joined(run, {"--dump", dump.folder(), "--dump-layers", "3"}), 2, {"no layer 3"});
  fails(joined(run, {"--dump", tiny.name() + "/config.json"}), 6, {"config.json"});
  fails({"logits", "-m", tiny.name(), "--ids", "1", "-o", dump.folder() + "/l.npy", "--dump-layers",
         "0"},
        2, {"--dump-layers needs --dump"});
  // A file that is in the way is found when its step comes.
  const Dump blocked;
  std::filesystem::create_directories(blocked.folder() + "/layer_01.gate_up.npy");
  fails(joined(run, {"--dump", blocked.folder()}), 6, {"layer_01.gate_up.npy", "regular file"});
  // A second prompt has a folder of its own.
  const Dump second;
  succeed(joined(run, {"--then", " a b", "--dump", second.folder()}));
  CHECK(second.read("embed").shape[0] == 6);
  CHECK(second.read("pass_0002/embed").shape[0] < 6);
}

TEST_CASE("cli dump: each chunk that is dropped by itself has a folder") {
  const TinyDir tiny;
  const Dump dump;
  succeed({"generate", "-m", tiny.name(), "-p", text_of(59), "-n", "0", "--kv-policy", "sage",
           "--kv-budget", "16", "--prefill", "chunk", "--evict-chunk", "25", "--dump",
           dump.folder()});
  int64_t rows = 0;
  for (const char* folder : {"", "pass_0002/", "pass_0003/"}) {
    const int64_t n = dump.read(std::string(folder) + "embed").shape[0];
    check_shapes(dump, folder, n, {"layer_00", "layer_01"});
    rows += n;
  }
  CHECK(rows == 60);
  CHECK(dump.has("pass_0003/logits"));
}

TEST_CASE("cli dump: scores are those that the queries and keys give, and what is made of them") {
  const TinyDir tiny;
  const Dump dump;
  succeed({"generate", "-m", tiny.name(), "-p", text_of(59), "-n", "1", "--kv-policy", "sage",
           "--kv-budget", "24", "--kv-sink", "2", "--kv-recent", "4", "--kv-group", "mean",
           "--dump", dump.folder()});
  const auto scores = dump.read("layer_01.attention_scores");
  REQUIRE(scores.shape == Shape{4, 60});
  const auto q = dump.read("layer_01.qkv.q");  // [60, 4, 8]
  const auto k = dump.read("layer_01.qkv.k");  // [60, 2, 8]
  std::vector<double> weights(2 * 60);
  for (size_t head = 0; head < 4; ++head) {
    std::vector<double> z(60);
    for (size_t r = 0; r < 60; ++r) {
      for (size_t d = 0; d < 8; ++d) {
        z[r] += static_cast<double>(q.values[(59 * 4 + head) * 8 + d]) *
                static_cast<double>(k.values[(r * 2 + head / 2) * 8 + d]) / std::sqrt(8.0);
      }
      CHECK(static_cast<double>(scores.values[head * 60 + r]) ==
            doctest::Approx(z[r]).epsilon(1e-4));
    }
    double sum = 0;
    for (const double x : z) sum += std::exp(x);
    for (size_t r = 0; r < 60; ++r) weights[head / 2 * 60 + r] += std::exp(z[r]) / sum / 2;
  }
  const auto combined = dump.read("layer_01.combine_scores");
  REQUIRE(combined.shape == Shape{2, 60});
  for (size_t i = 0; i < weights.size(); ++i) {
    CHECK(static_cast<double>(combined.values[i]) == doctest::Approx(weights[i]).epsilon(1e-4));
  }
}

TEST_CASE("cli dump: scores of zones alone are not there outside of them") {
  const TinyDir tiny;
  const Dump dump;
  succeed({"generate", "-m", tiny.name(), "-p", text_of(79), "-n", "0", "--kv-policy", "laprox",
           "--kv-budget", "48", "--dump", dump.folder()});
  for (const char* step : {"window_attention", "value_norms"}) {
    const auto scores = dump.read(std::string("layer_00.") + step);
    CHECK(scores.shape == Shape{4, 80});
    CHECK(std::ranges::none_of(scores.values, [](float x) { return std::isnan(x); }));
  }
  const auto pooled = dump.read("layer_00.pool_scores");
  REQUIRE(pooled.shape[1] == 80);
  CHECK(std::isfinite(pooled.values[20]));
  CHECK(std::isnan(pooled.values[79]));  // one of the last rows, which all are kept
}

}  // namespace winnow::test
