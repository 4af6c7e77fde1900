// winnow eval as its users meet it: results in every format, pictures, answers, interrupts, and
// what is refused before anything is computed.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "src/base/splitmix.h"
#include "src/eval/budget_plot.h"
#include "src/eval/heat_map.h"
#include "src/eval/metrics.h"
#include "tests/support/eval_runs.h"

namespace winnow::test {
namespace {

/// Full once, and three policies with each of two budgets.
constexpr size_t kMethods = 7;

Words keys_of(const OrderedJson& object) {
  Words keys;
  for (const auto& [key, value] : object.items()) keys.push_back(key);
  return keys;
}

/// The cells of a line of Markdown.
Words cells_of(const std::string& line) {
  Words cells;
  for (size_t at = 2; at < line.size();) {
    const size_t end = line.find(" |", at);
    cells.push_back(line.substr(at, end - at));
    at = end + 3;
  }
  return cells;
}

/// What `winnow generate` says of the same prompt with the same cache. `answer` is of sample
/// `draw`, from 0, with --seed 5.
void check_generated(const OrderedJson& answer, const OrderedJson& row, const Words& prompt,
                     uint64_t draw) {
  const std::string seed = std::to_string(splitmix64(5, draw));
  Words run = {"generate", "-m", kDemo, "-n", "8", "--stop", ".", "--seed", seed};
  if (row["policy"] != "full") {
    const std::string policy = row["policy"];
    run = joined(run, {"--kv-policy", policy, "--kv-budget", row["budget"].dump()});
  }
  const OrderedJson json = json_result(joined(run, prompt));
  CAPTURE(row.dump());
  CHECK(answer["prediction"] == json["text"]);
  CHECK(answer["tokens"] == json["prompt_tokens"]);
  CHECK(row["length"] == json["prompt_tokens"]);
  for (const char* key : {"rows_kept", "bytes_kept", "bytes_peak", "footprint", "occupancy"}) {
    CAPTURE(key);
    CHECK(row[key].get<double>() == json["kv"][key].get<double>());
  }
}

}  // namespace

TEST_CASE("cli eval: needle in JSON has a row for each method, length and depth") {
  const EvalBench bench;
  const OrderedJson json = json_result(bench.needle());
  CHECK(keys_of(json) == Words{"rows"});
  const OrderedJson& rows = json["rows"];
  REQUIRE(rows.size() == 2 * kMethods * 3);  // all depths together, and two
  size_t i = 0;
  for (const int64_t length : {256, 320}) {
    for (size_t m = 0; m < kMethods; ++m) {
      const Words policies = {"full", "sage", "sage", "streaming", "streaming", "random", "random"};
      for (const OrderedJson& depth : {OrderedJson(nullptr), OrderedJson(0.0), OrderedJson(1.0)}) {
        const OrderedJson& row = rows[i++];
        CAPTURE(row.dump());
        CHECK(keys_of(row) == Words{"task", "policy", "budget", "question", "length", "depth", "n",
                                    "accuracy", "ci95", "rows_kept", "bytes_kept", "bytes_peak",
                                    "footprint", "occupancy", "ms_per_token"});
        CHECK(row["task"] == "needle");
        CHECK(row["policy"] == policies[m]);
        CHECK(row["budget"] == (m == 0 ? OrderedJson(nullptr) : OrderedJson(m % 2 == 1 ? 32 : 64)));
        CHECK(row["question"] == "seen");
        CHECK(row["length"] == length);
        CHECK(row["depth"] == depth);
        CHECK(row["n"] == (depth.is_null() ? 3 : depth == 0.0 ? 2 : 1));
        const double kept = row["rows_kept"];
        if (m == 0) CHECK(kept == static_cast<double>(4 * length));
        if (m > 0) CHECK(kept <= 4 * row["budget"].get<double>());
        CHECK(row["bytes_kept"].get<double>() == doctest::Approx(kept * 72).epsilon(1e-12));
        CHECK(row["ci95"][0] <= row["accuracy"]);
        CHECK(row["accuracy"] <= row["ci95"][1]);
      }
    }
  }
}

TEST_CASE("cli eval: all formats say the same, and the result is all that stdout gets") {
  const EvalBench bench;
  for (const bool ppl : {false, true}) {
    CAPTURE(ppl);
    const auto in_format = [&](const char* format, const Words& more = {"-q"}) {
      const Words run = joined(ppl ? bench.ppl() : bench.needle(), {"--format", format});
      return succeed(joined(run, more)).out;
    };
    const OrderedJson rows = timeless(json_of(in_format("json"))["rows"]);
    CHECK(timeless(read_lines(in_format("jsonl"))) == rows);
    CHECK(timeless(json_of(in_format("json", {"-vv", "--progress", "always"}))["rows"]) == rows);

    const Words csv = lines_of(in_format("csv"));
    REQUIRE(csv.size() == rows.size() + 1);
    CHECK(csv[0] == (ppl ? "policy,budget,prefix,windows,n,perplexity,bits_per_byte,kl,top1,"
                           "rows_kept,bytes_kept,bytes_peak,footprint,occupancy,ms_per_token"
                         : "task,policy,budget,question,length,depth,n,accuracy,ci95_low,ci95_high,"
                           "rows_kept,bytes_kept,bytes_peak,footprint,occupancy,ms_per_token"));
    const Words markdown = lines_of(in_format("md"));
    const Words text = lines_of(in_format("text"));
    const auto whole = [](const OrderedJson& row) {
      return !row.contains("depth") || row["depth"].is_null();
    };
    const auto n = static_cast<size_t>(std::count_if(rows.begin(), rows.end(), whole));
    REQUIRE(markdown.size() == n + 2);
    REQUIRE(text.size() == n + 1);
    CHECK(cells_of(markdown[1]).size() == cells_of(markdown[0]).size());
    size_t line = 1;
    for (size_t i = 0; i < rows.size(); ++i) {
      CHECK(csv[i + 1].find("," + rows[i]["rows_kept"].dump() + ",") != std::string::npos);
      if (!whole(rows[i])) continue;
      const Words cells = cells_of(markdown[line + 1]);
      CHECK(std::ranges::count(cells, rows[i]["policy"].get<std::string>()) == 1);
      // All but the last cell, which tells a time.
      for (size_t c = 0; c + 1 < cells.size(); ++c) {
        CHECK(text[line].find(cells[c]) != std::string::npos);
      }
      ++line;
    }
    const std::string file = bench.path("result");
    CHECK(in_format("json", {"-q", "-o", file}).empty());
    CHECK(timeless(json_of(read_file(file))["rows"]) == rows);
  }
}

TEST_CASE("cli eval: predictions and pictures of the same rows") {
  const EvalBench bench;
  const std::string answers = bench.path("p.jsonl"), plot = bench.path("p.svg");
  const std::string map = bench.path("h.svg");
  const OrderedJson rows = rows_of(bench.needle(
      {"--predictions", answers, "--plot", plot, "--heat-map", map, "--question", "unseen",
       "--plot-footprint", bench.path("f.svg"), "--plot-peak", bench.path("k.svg")}));
  CHECK(read_file(plot) == budget_plot_svg(eval_rows(rows), "Needles in text.txt"));
  CHECK(read_file(bench.path("f.svg")) ==
        cost_plot_svg(eval_rows(rows), "Needles in text.txt", PlotBy::kFootprint));
  CHECK(read_file(bench.path("k.svg")) ==
        cost_plot_svg(eval_rows(rows), "Needles in text.txt", PlotBy::kPeak));
  CHECK(read_file(map) == heat_map_svg(eval_rows(rows), "Needles in text.txt"));
  const OrderedJson lines = read_lines(read_file(answers));
  REQUIRE(lines.size() == 2 * 3 * kMethods);
  std::set<std::string> ids;
  for (size_t i = 0; i < lines.size(); ++i) {
    const OrderedJson& line = lines[i];
    CHECK(keys_of(line) == Words{"task", "id", "policy", "budget", "question", "tokens", "depth",
                                 "answers", "prediction", "score"});
    CHECK(line["id"] == lines[i - i % kMethods]["id"]);
    CHECK(line["policy"] == rows[3 * (i % kMethods)]["policy"]);
    CHECK(line["budget"] == rows[3 * (i % kMethods)]["budget"]);
    CHECK(line["question"] == "unseen");
    CHECK(line["tokens"] == (i < lines.size() / 2 ? 256 : 320));
    ids.insert(line["id"]);
  }
  CHECK(ids.size() == 6);
  // The question's rows join those that were kept.
  CHECK(rows[3]["budget"] == 32);
  CHECK(rows[3]["rows_kept"].get<double>() > 4 * 32);
}

TEST_CASE("cli eval: tasks are grouped by name, and each is scored by its metric") {
  const EvalBench bench;
  const std::string lines = prompt_line(50, R"(,"metric":"f1","task":"b","id":"one")") +
                            prompt_line(70, R"(,"metric":"contains","id":7)") + "\n" +
                            prompt_line(90, R"(,"metric":"edit_sim","task":"b","stop":["\n"])") +
                            prompt_line(20, R"(,"metric":"exact")");
  const std::string answers = bench.path("p.jsonl"), plot = bench.path("p.svg");
  const Words more = {"--predictions", answers, "--plot", plot, "--kv-budget", "16"};
  const OrderedJson rows = rows_of(bench.tasks(lines, more));
  const OrderedJson given = read_lines(read_file(answers));
  REQUIRE(rows.size() == 2 * 4);
  REQUIRE(given.size() == 4 * 4);
  const Words ids = {"one", "4", "7", "5"};  // by default the line's number
  const std::vector<Metric> metrics = {Metric::kF1, Metric::kEditSim, Metric::kContains,
                                       Metric::kExact};
  for (size_t i = 0; i < given.size(); ++i) {
    const OrderedJson& line = given[i];
    CAPTURE(line.dump());
    CHECK(line["id"] == ids[i / 4]);
    CHECK(line["task"] == (i < 8 ? "b" : "some"));
    CHECK(line["answers"] == OrderedJson{"a", "x x"});
    const auto right = line["answers"].get<Words>();
    CHECK(line["score"] ==
          score_answer(metrics[i / 4], line["prediction"].get<std::string>(), right));
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    CHECK(rows[i]["task"] == (i < 4 ? "b" : "some"));
    CHECK(rows[i]["n"] == 2);
    CHECK(rows[i]["length"] == (i < 4 ? 71 : 46));  // means, with BOS
    CHECK(rows[i]["depth"].is_null());
    const size_t first = i < 4 ? i : i + 4;
    const double both =
        given[first]["score"].get<double>() + given[first + 4]["score"].get<double>();
    CHECK(rows[i]["accuracy"].get<double>() == doctest::Approx(both / 2).epsilon(1e-12));
  }
  CHECK(read_file(plot) == budget_plot_svg(eval_rows(rows), "Tasks of some.jsonl"));
  CHECK(rows_of(bench.tasks(lines, {"--samples", "1"}))[0]["n"] == 1);
}

TEST_CASE("cli eval: an answer and its cost are those of generate over the same prompt") {
  const EvalBench bench;
  const std::string first = story(5), question = "\nThe old man said that the";
  const Words texts = {first.substr(0, 150) + " and the", first.substr(0, 220) + " of the"};
  const auto line = [](const std::string& input, const char* task) {
    return "{" + input + R"(,"answers":["a"],"max_tokens":8,"metric":"exact","stop":["."],)" +
           R"("task":")" + task + "\"}\n";
  };
  const auto json = [](const std::string& text) { return OrderedJson(text).dump(); };
  const auto check = [&](const std::string& lines, const std::vector<Words>& prompts,
                         const Words& more) {
    write_file(bench.path("t.jsonl"), lines);
    const Words run = {"eval",         "-m", kDemo,         "tasks", bench.path("t.jsonl"),
                       "--seed",       "5",  "--kv-budget", "32",    "--predictions",
                       bench.path("p")};
    const OrderedJson rows = rows_of(joined(run, more));
    const OrderedJson answers = read_lines(read_file(bench.path("p")));
    REQUIRE(rows.size() == 4 * prompts.size());
    REQUIRE(answers.size() == rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      check_generated(answers[i], rows[i], prompts[i / 4], i / 4);
    }
  };
  check(line("\"prompt\":" + json(texts[0]), "a") + line("\"prompt\":" + json(texts[1]), "b"),
        {{"-p", texts[0]}, {"-p", texts[1]}}, {});
  check(line("\"context\":" + json(first) + ",\"question\":" + json(question), "c"),
        {{"-p", first, "--then", question}}, {"--question", "unseen"});
}

TEST_CASE("cli eval: ppl tells how surprising the text is with each cache") {
  const EvalBench bench;
  const OrderedJson rows = rows_of(bench.ppl());
  REQUIRE(rows.size() == 4);
  for (const OrderedJson& row : rows) {
    CAPTURE(row.dump());
    CHECK(keys_of(row) == Words{"policy", "budget", "prefix", "windows", "n", "perplexity",
                                "bits_per_byte", "kl", "top1", "rows_kept", "bytes_kept",
                                "bytes_peak", "footprint", "occupancy", "ms_per_token"});
    CHECK(row["prefix"] == 64);
    CHECK(row["windows"] == 3);
    CHECK(row["n"] == 60);
    CHECK(row["perplexity"].get<double>() > 1);
    const bool full = row["policy"] == "full";
    CHECK((row["kl"].get<double>() > 0) == !full);
    CHECK((row["top1"] == 1.0) == full);
    CHECK(row["rows_kept"].get<double>() <= (full ? 4 * 84 : 4 * 16));
  }
}

TEST_CASE("cli eval: windows of ppl go on by what is scored, or by --stride") {
  const EvalBench bench;
  const auto row = [&](const Words& more) {
    const Words run = {"ppl",     "-f", bench.path("text.txt"), "--prefix", "64",
                       "--score", "20", "--kv-policy",          "full"};
    return rows_of(bench.eval(run, more))[0];
  };
  const auto windows = [&](const Words& more) { return row(more)["windows"]; };
  // One after the other is foretold otherwise.
  CHECK(row({"--samples", "1"})["perplexity"] != row({"--samples", "2"})["perplexity"]);
  write_file(bench.path("text.txt"), text_of(150));
  // 84 tokens of 150 a window with BOS, 85 without: at 0, 20, 40, 60.
  CHECK(windows({}) == 4);
  CHECK(windows({"--samples", "3"}) == 3);
  CHECK(windows({"--stride", "66"}) == 2);
  CHECK(windows({"--stride", "67"}) == 1);
  CHECK(windows({"--bos", "no", "--stride", "66"}) == 1);
  CHECK(windows({"--bos", "no", "--stride", "65"}) == 2);
  CHECK(windows({"--samples", "0", "--stride", "1"}) == 67);
  // All windows are the same here, but each is drawn for anew.
  const auto kl = [&](const char* policy, const char* samples) {
    const Words run = {"ppl", "-f", bench.path("text.txt"), "--prefix", "64", "--score", "20"};
    const Words more = {"--kv-policy", policy, "--kv-budget", "16", "--samples", samples};
    return rows_of(bench.eval(run, more))[0]["kl"].get<double>();
  };
  CHECK(kl("streaming", "2") == doctest::Approx(kl("streaming", "1")).epsilon(1e-12));
  CHECK(kl("random", "2") != doctest::Approx(kl("random", "1")).epsilon(1e-12));
}

TEST_CASE("cli eval: the same seed gives the same result, byte for byte, and another another") {
  const EvalBench bench;
  const std::string answers = bench.path("p");
  const auto result = [&](const Words& more) {
    const Words run = joined(bench.needle({"--predictions", answers}), more);
    const std::string rows = timeless(rows_of(run)).dump();
    return rows + read_file(answers);
  };
  const std::string first = result({});
  CHECK(result({}) == first);
  CHECK(result({"--seed", "1"}) == first);
  CHECK(result({"--threads", "1"}) == first);
  // Other needles; other rows of random.
  const std::string full = result({"--kv-policy", "full"});
  CHECK(result({"--kv-policy", "full", "--seed", "2"}) != full);
  CHECK(result({"--kv-policy", "full", "--bos", "no"}) != full);
  const auto ppl = [&](const Words& more) {
    return timeless(rows_of(bench.ppl(joined({"--kv-policy", "random"}, more)))).dump();
  };
  CHECK(ppl({}) == ppl({"--seed", "1"}));
  CHECK(ppl({"--seed", "2"}) != ppl({"--seed", "1"}));
}

TEST_CASE("cli eval: few samples have few depths, from the start to the end") {
  const EvalBench bench;
  const auto depths = [&](const Words& more) {
    const Words run = {"needle", "--haystack", bench.path("text.txt"), "--kv-policy", "full"};
    const OrderedJson rows = rows_of(joined(bench.eval(run, {"--lengths", "256"}), more));
    OrderedJson found = OrderedJson::array();
    for (size_t i = 1; i < rows.size(); ++i) found.push_back(rows[i]["depth"]);
    return found;
  };
  CHECK(depths({"--samples", "1"}) == OrderedJson{0.5});
  CHECK(depths({"--samples", "2"}) == OrderedJson{0.0, 1.0});
  CHECK(depths({"--samples", "3", "--depths", "4"}) == OrderedJson{0.0, 0.5, 1.0});
  CHECK(depths({"--samples", "7", "--depths", "2"}) == OrderedJson{0.0, 1.0});
}

TEST_CASE("cli eval: texts of all lengths have the memory that they need") {
  const EvalBench bench;
  const TinyDir wide({.n_kv_heads = 4, .head_dim = 64, .max_positions = 8192});  // 4 KiB a token
  const auto run = [&](const std::string& lines, const Words& more) {
    write_file(bench.path("t.jsonl"), lines);
    const Words tasks = {"eval", "-m", wide.name(), "tasks", bench.path("t.jsonl")};
    return rows_of(joined(tasks, more)).size();
  };
  // The short prompt grows beyond the budget; the question is longer than its context.
  const std::string grow = R"(","answers":["a"],"metric":"exact","max_tokens":2000})";
  const std::string prompts =
      R"({"prompt":")" + text_of(900) + grow + "\n" + R"({"prompt":")" + text_of(20) + grow + "\n";
  const Words small = {"--kv-policy", "sage,random", "--kv-budget", "300"};
  CHECK(run(prompts, small) == 2);
  CHECK(run(prompts, joined(small, {"--kv-recompact", "50"})) == 2);
  const std::string question = R"({"context":"x","question":")" + text_of(3000);
  CHECK(run(question + R"(","answers":["a"],"metric":"exact","max_tokens":1})",
            {"--question", "unseen", "--prefill-rows", "3000"}) == 4);
}

}  // namespace winnow::test
