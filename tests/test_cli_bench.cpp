// bench: prefill, decode and single kernels, in every format, with the shares of what the machine
// reaches.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <string>

#include "src/bench/cost.h"
#include "src/bench/kernel_names.h"
#include "src/random_model.h"
#include "tests/support/winnow_runs.h"

namespace winnow::test {
namespace {

constexpr size_t kColumns = 13;

OrderedJson bench(const TinyDir& dir, const Words& more) {
  return json_result(joined({"bench", "-m", dir.name(), "-r", "3"}, more));
}

double ceiling(const OrderedJson& record, const char* name) {
  return record["ceiling"][name].get<double>();
}

/// What every record says, whatever it measures.
void check_record(const OrderedJson& record) {
  CAPTURE(record.dump());
  for (const char* key : {"bench", "name", "shape", "prompt", "depth", "policy", "budget", "value",
                          "unit", "share", "ceiling", "gpu", "driver", "commit", "flags", "runs"}) {
    REQUIRE(record.contains(key));
  }
  CHECK(record["value"].get<double>() > 0);
  CHECK(record["share"].get<double>() > 0);
  for (const char* name : {"read_GBps", "copy_GBps", "gemm_TFLOPs"}) {
    CHECK(ceiling(record, name) > 0);
  }
  CHECK(record["runs"].size() == 3);
  CHECK(std::ranges::is_sorted(record["runs"]));
  CHECK(record["value"] == record["runs"][1]);
  CHECK(record["gpu"].get<std::string>().starts_with("cpu ("));
  CHECK_FALSE(record["commit"].get<std::string>().empty());
}

}  // namespace

TEST_CASE("cli bench: a shape file with random weights takes a model's place; depths are rows") {
  const TinyDir tiny;
  const std::string shape = (tiny / "config.json").string();
  const Words run = {
      "bench", "--config", shape,   "--random-weights", "-p", "4", "-n", "3", "-d", "0,9",
      "-r",    "1",        "--json"};
  const OrderedJson json = json_of(succeed(run).out);
  REQUIRE(json.size() == 3);
  CHECK(json[1]["depth"] == 0);
  CHECK(json[2]["depth"] == 9);
  for (const OrderedJson& record : json) CHECK(record["shape"] == "config");
  fails({"bench", "--config", shape}, 2);
  fails({"bench", "-m", tiny.name(), "--random-weights"}, 2);
  fails({"bench", "-m", tiny.name(), "--config", shape, "--random-weights"}, 2);
  fails({"bench", "--config", shape + ".none", "--random-weights"}, 6);
}

TEST_CASE("cli bench: prefill and decode apart, in every format") {
  const TinyDir tiny({.max_positions = 1000});
  const Words run = {"bench", "-m", tiny.name(), "-p", "8,20", "-n", "5", "-r", "3"};
  const OrderedJson json = json_of(succeed(joined(run, {"--json"})).out);
  REQUIRE(json.size() == 3);
  CHECK(json[0]["bench"] == "prefill");
  CHECK(json[1]["prompt"] == 20);
  CHECK(json[2]["bench"] == "decode");
  CHECK(json[2]["prompt"] == 0);
  CHECK(json[2]["tokens"] == 5);
  for (const OrderedJson& record : json) {
    check_record(record);
    CHECK(record["name"] == record["bench"]);
    CHECK(record["unit"] == "tokens/s");
    CHECK(record["policy"] == "full");
    CHECK(record["budget"].is_null());
    CHECK(record["flags"] == "");
    CHECK(record["shape"] == std::filesystem::path(tiny.name()).filename().string());
  }
  CHECK(lines_of(succeed(run).out).size() == 4);
  const Words csv = lines_of(succeed(joined(run, {"--format", "csv"})).out);
  REQUIRE(csv.size() == 4);
  for (const std::string& line : csv) CHECK(std::ranges::count(line, ',') == kColumns - 1);
  const Words markdown = lines_of(succeed(joined(run, {"--format", "md"})).out);
  REQUIRE(markdown.size() == 5);
  for (const std::string& line : markdown) CHECK(std::ranges::count(line, '|') == kColumns + 1);
  const Words jsonl = lines_of(succeed(joined(run, {"--jsonl"})).out);
  REQUIRE(jsonl.size() == 3);
  for (size_t i = 0; i < 3; ++i) CHECK(json_of(jsonl[i])["bench"] == json[i]["bench"]);
}

TEST_CASE(
    "cli bench: shares follow from the value, the ceilings of the run, and the declared work") {
  const TinyDir tiny({.max_positions = 1000});
  const ShapePlan plan = read_shape(tiny / "config.json");
  const CostShape shape{.config = plan.config, .weights = DType::kF32, .rows = DType::kF32};
  const OrderedJson json = bench(tiny, {"-p", "20", "-n", "5", "-d", "0,100"});
  REQUIRE(json.size() == 3);
  const double prefill = prompt_cost(shape, 20).flops / 20 * json[0]["value"].get<double>();
  CHECK(json[0]["share"].get<double>() ==
        doctest::Approx(prefill / ceiling(json[0], "gemm_TFLOPs") * 1e-12));
  for (const size_t i : {1, 2}) {
    const double mean = json[i]["depth"].get<double>() + 2;  // rows before the 5 tokens
    const double read = token_cost(shape, mean).read * json[i]["value"].get<double>();
    CHECK(json[i]["share"].get<double>() ==
          doctest::Approx(read / ceiling(json[i], "read_GBps") * 1e-9));
  }
}

TEST_CASE("cli bench: every kernel by its name, at the rows and depths that are asked for") {
  const TinyDir tiny({.n_heads = 6, .n_kv_heads = 2});
  const OrderedJson all =
      bench(tiny, {"--kernel", "all", "-p", "1,70", "-d", "40,200", "--prefill-rows", "32",
                   "--kv-policy", "full,sage", "--kv-budget", "24,60"});
  std::set<std::string> seen;
  for (const OrderedJson& record : all) {
    check_record(record);
    CHECK(record["bench"] == "kernel");
    CHECK(record["unit"] == "us");
    CHECK(record["flags"] == "--prefill-rows 32");
    seen.insert(record["name"].get<std::string>());
  }
  CHECK(seen.size() == kKernelNames.size());
  const auto count = [&](const char* name) {
    return std::ranges::count_if(all, [&](const auto& record) { return record["name"] == name; });
  };
  for (const char* name : {"embed", "qkv", "attention_output", "gate_up", "down"}) {
    CHECK(count(name) == 2);
  }
  CHECK(count("attention_prefill") == 4);
  CHECK(count("attention_decode") == 6);
  CHECK(count("logits") == 1);
  CHECK(count("sample") == 1);
  // 24 of 40, 24 of 200, 60 of 200: the budget of 60 drops none of 40.
  for (const char* name : {"attention_scores", "top_k", "list_kept", "gather_rows"}) {
    CHECK(count(name) == 3);
  }
}

TEST_CASE("cli bench: a kernel takes longer over more rows, and names its rows") {
  const TinyDir tiny({.max_positions = 100'000});
  const OrderedJson json = bench(
      tiny, {"--kernel", "attention_decode,attention_prefill", "-p", "2,400", "-d", "10,20000"});
  REQUIRE(json.size() == 6);
  CHECK(json[0]["prompt"] == 1);
  CHECK(json[1]["depth"] == 20000);
  CHECK(json[0]["value"].get<double>() < json[1]["value"].get<double>());
  CHECK(json[2]["prompt"] == 2);
  CHECK(json[5]["prompt"] == 400);
  CHECK(json[2]["value"].get<double>() < json[5]["value"].get<double>());
}

TEST_CASE("cli bench: kernels that are unknown or have nothing to do are refused") {
  const TinyDir tiny;
  const auto refuse = [&](const Words& more, std::initializer_list<std::string_view> parts) {
    fails(joined({"bench", "-m", tiny.name()}, more), 2, parts);
  };
  refuse({"--kernel", "attention"}, {"--kernel", "'attention'", "attention_prefill"});
  refuse({"--kernel", "qkv,"}, {"--kernel", "''"});
  refuse({"--kernel", "top_k"}, {"--kernel top_k", "--kv-policy"});
  refuse({"--kernel", "gather_rows", "-d", "100", "--kv-policy", "streaming", "--kv-budget", "20"},
         {"--kernel gather_rows", "scores rows"});
  refuse({"--kernel", "top_k", "-d", "20", "--kv-policy", "sage", "--kv-budget", "20"}, {"-d"});
}

TEST_CASE("cli bench: what does not fit or measures nothing is refused") {
  fails({"bench", "-m", kDemo, "-p", "32769"}, 7, {"32769", "32768", "-c"});
  fails({"bench", "-m", kDemo, "-p", "0", "-n", "32769"}, 7, {"32769"});
  fails({"bench", "-m", kDemo, "-p", "0", "-n", "1", "-d", "32768"}, 7, {"-d 32768"});
  fails({"bench", "-m", kDemo, "-p", "0", "-n", "0"}, 2, {"nothing to measure"});
  fails({"bench", "-m", kDemo, "-r", "0"}, 2, {"--repetitions"});
  fails({"bench", "-m", kDemo, "-p", "2147483647", "-c", "2147483647", "-q"}, 4, {"out of memory"});
  succeed({"bench", "-m", kDemo, "-p", "0", "-n", "2", "-r", "1"});
}

TEST_CASE("cli bench: a prompt and a depth longer than the model's context, with -c") {
  const TinyDir tiny({.max_positions = 100});
  const OrderedJson json = bench(tiny, {"-p", "300", "-n", "4", "-d", "500", "-c", "600",
                                        "--kv-policy", "full,sage", "--kv-budget", "32"});
  REQUIRE(json.size() == 5);
  for (const OrderedJson& record : json) check_record(record);
  CHECK(json[3]["bench"] == "compact");
  CHECK(json[3]["share"].get<double>() < 1);
  CHECK(json[4]["policy"] == "sage");
  CHECK(json[4]["budget"] == 32);
}

}  // namespace winnow::test
