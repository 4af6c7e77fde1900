// --dump: queries and keys as .npy files, and what was kept checked with them by NumPy.
#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "tests/npy.h"
#include "tests/support/winnow_runs.h"

namespace winnow::test {
namespace {

/// The prompt's files: those of tokens lie in folders.
std::set<std::string> names_in(const std::filesystem::path& dir) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    if (entry.is_regular_file()) names.insert(entry.path().filename().string());
  }
  return names;
}

/// The last queries and keys of these layers.
std::set<std::string> kept_names(const std::vector<std::string>& layers) {
  std::set<std::string> names;
  for (const std::string& layer : layers) {
    names.insert({"layer_" + layer + ".q_last.npy", "layer_" + layer + ".k.npy"});
  }
  return names;
}

std::set<std::string> only_kept(std::set<std::string> names) {
  std::erase_if(names, [](const std::string& name) {
    return !name.ends_with("q_last.npy") &&
           (!name.ends_with(".k.npy") || name.ends_with("qkv.k.npy"));
  });
  return names;
}

/// A prompt of 30 tokens, BOS included, for a model of 3 layers.
struct TinyRun {
  TinyDir model{{.n_layers = 3}};
  TempDir dir;

  std::filesystem::path folder() const { return dir / "made/anew"; }
  Words with(const Words& more) const {
    const Words run = {"generate", "-m",     model.name(),     "-p", text_of(29), "-n",
                       "3",        "--dump", folder().string()};
    return joined(run, more);
  }
};

/// A Python that knows NumPy: the one that PATH finds, or else the system's own; empty for neither.
std::string python_with_numpy() {
  for (const char* name : {"python3", "/usr/bin/python3"}) {
    const ProcessSpec spec{.arguments = {name, "-c", "import numpy"}, .program = "/usr/bin/env"};
    if (test::run(spec).code == 0) return name;
  }
  return "";
}

ProcessSpec python(Words arguments) {
  return {.arguments = joined({python_with_numpy()}, arguments), .program = "/usr/bin/env"};
}

}  // namespace

TEST_CASE("cli kv dump: a query and the keys of each layer, in order of position") {
  const TinyRun tiny;
  succeed(tiny.with({}));
  CHECK(only_kept(names_in(tiny.folder())) == kept_names({"00", "01", "02"}));
  for (const char* layer : {"layer_00", "layer_01", "layer_02"}) {
    const auto q = read_npy<float>(tiny.folder() / (std::string(layer) + ".q_last.npy"));
    const auto k = read_npy<float>(tiny.folder() / (std::string(layer) + ".k.npy"));
    CHECK(q.shape == std::vector<int64_t>{4, 8});
    CHECK(k.shape == std::vector<int64_t>{2, 30, 8});
    for (const float value : q.values) CHECK(std::isfinite(value));
    for (const float value : k.values) CHECK(std::isfinite(value));
  }
}

TEST_CASE("cli kv dump: only the layers that are asked for") {
  const TinyRun one;
  succeed(one.with({"--dump-layers", "1"}));
  CHECK(only_kept(names_in(one.folder())) == kept_names({"01"}));
  const TinyRun two;
  succeed(two.with({"--dump-layers", "2,0,2"}));
  CHECK(only_kept(names_in(two.folder())) == kept_names({"00", "02"}));
}

TEST_CASE("cli kv dump: the files are those before any row is dropped, and the text is the same") {
  const TinyRun full;
  const TinyRun sage;
  const Words policy = {"--kv-policy", "sage", "--kv-budget", "8"};
  const Words plain =
      joined({"generate", "-m", full.model.name(), "-p", text_of(29), "-n", "3"}, policy);
  succeed(full.with({}));
  CHECK(succeed(sage.with(policy)).out == succeed(plain).out);
  for (const std::string& name : names_in(full.folder())) {
    CAPTURE(name);
    // What a layer reads is the same until rows are dropped behind it, and so in all of them.
    CHECK(read_file(full.folder() / name) == read_file(sage.folder() / name));
  }
}

TEST_CASE(
    "cli kv dump: the kept rows of the bundled model are NumPy's top k of the dumped scores") {
  if (python_with_numpy().empty()) {
    MESSAGE("skipped: no python3 has numpy here");
    return;
  }
  const TempDir dir;
  const std::string folder = (dir / "dump").string();
  const std::string file = (dir / "kept.json").string();
  const OrderedJson run =
      json_result({"generate", "-m", kDemo, "-p", story(28), "-n", "1", "--kv-policy", "sage",
                   "--kv-budget", "64", "--dump", folder, "--kv-dump", file});
  CHECK(run["prompt_tokens"].get<int64_t>() > 550);
  // 3 query heads a KV head: S = 64 / 4, k = floor(64 / 6), R the rest.
  const Words shares = {"--sink", "16", "--recent", "18", "--k", "10"};
  const Words check = joined({"tools/check_selection.py", folder, file}, shares);
  const Finished checked = test::run(python(check));
  CAPTURE(checked.out);
  CAPTURE(checked.err);
  CHECK(checked.code == 0);
  CHECK(checked.out.ends_with("8 of 8 layers equal, 0 not dumped\n"));

  // It does find what is wrong: another k, and a position that moved.
  Words other = check;
  other.back() = "9";
  CHECK(test::run(python(other)).code == 1);
  OrderedJson kept = json_of(read_file(file));
  OrderedJson& positions = kept["layers"][3]["heads"][1]["positions"];
  const size_t middle = 20;
  const int64_t before = positions[middle - 1].get<int64_t>();
  REQUIRE(positions[middle].get<int64_t>() > before + 1);
  positions[middle] = before + 1;
  write_file(file, kept.dump());
  const Finished wrong = test::run(python(check));
  CHECK(wrong.code == 1);
  CHECK(wrong.out.find("7 of 8 layers equal") != std::string::npos);
}

}  // namespace winnow::test
