// winnow eval that does not come to its end: interrupted with what it has so far, or refused before
// anything is computed.
#include <doctest/doctest.h>
#include <sys/resource.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "src/eval/budget_plot.h"
#include "src/eval/heat_map.h"
#include "tests/support/eval_runs.h"

namespace winnow::test {
namespace {

/// Interrupts the process, which must end at once and say so.
Finished interrupt(Process& process, int signal = SIGINT) {
  process.send(signal);
  const Finished run = process.wait(20);
  CAPTURE(run.err);
  CHECK(run.code == 128 + signal);
  CHECK(run.err.ends_with(signal == SIGINT ? "winnow: interrupted\n" : "winnow: terminated\n"));
  return run;
}

/// The rows of a JSON document that was closed.
OrderedJson closed_rows(const Finished& run) {
  CHECK(run.out.ends_with("}\n"));
  return json_of(run.out)["rows"];
}

size_t lines_in(const std::string& path) {
  if (!std::filesystem::exists(path)) return 0;
  const std::string text = read_file(path);
  return static_cast<size_t>(std::ranges::count(text, '\n'));
}

/// Refused before weights are read.
void refuse(const Words& arguments, int code, std::initializer_list<std::string_view> parts) {
  std::string shown;
  for (const std::string& word : arguments) shown += " " + word.substr(0, 100);
  CAPTURE(shown);
  const Finished run = test::run(arguments);
  check_failure(run, code, parts);
  CHECK(run.err.find("memory ") == std::string::npos);
}

/// The bundled model reads for seconds.
Words long_needle(const EvalBench& bench) {
  write_file(bench.path("long.txt"), story(400));
  return {"eval",      "-m",   kDemo,       "needle", "--haystack", bench.path("long.txt"),
          "--lengths", "6000", "--samples", "1",      "--progress", "always"};
}

}  // namespace

TEST_CASE("cli eval stopped: an interrupt writes the rows of the samples that are answered") {
  const EvalBench bench;
  constexpr size_t kSamples = 400;  // of each length
  constexpr size_t kMethods = 2;
  const std::string answers = bench.path("p.jsonl"), plot = bench.path("p.svg");
  const std::string map = bench.path("h.svg");
  const Words run = bench.eval(
      {"needle", "--haystack", bench.path("text.txt"), "--lengths", "256,3000", "--samples",
       std::to_string(kSamples), "--depths", "2", "--kv-policy", "full,sage", "--kv-budget", "64"},
      {"--predictions", answers, "--plot", plot, "--heat-map", map, "--json"});
  Process process({.arguments = run});
  REQUIRE(process.wait_until([&] { return lines_in(answers) > (kSamples + 3) * kMethods; }));
  const OrderedJson rows = closed_rows(interrupt(process));

  const OrderedJson lines = read_lines(read_file(answers));
  CHECK(lines.size() % kMethods == 0);
  const size_t answered = lines.size() / kMethods;
  CHECK(answered > kSamples + 2);
  CHECK(answered < 2 * kSamples);
  REQUIRE(rows.size() == 2 * kMethods * 3);
  for (size_t i = 0; i < rows.size(); ++i) {
    CAPTURE(i);
    const bool first = i < rows.size() / 2;
    CHECK(rows[i]["length"] == (first ? 256 : 3000));
    if (rows[i]["depth"].is_null()) CHECK(rows[i]["n"] == (first ? kSamples : answered - kSamples));
    if (rows[i]["policy"] == "full") {
      CHECK(rows[i]["rows_kept"].get<double>() == (first ? 4 * 256 : 4 * 3000));
    }
  }
  CHECK(read_file(plot) == budget_plot_svg(eval_rows(rows), "Needles in text.txt"));
  CHECK(read_file(map) == heat_map_svg(eval_rows(rows), "Needles in text.txt"));
}

TEST_CASE("cli eval stopped: an interrupted run of lines is whole lines") {
  const EvalBench bench;
  std::string tasks;
  for (int i = 0; i < 3; ++i) tasks += prompt_line(20, R"(,"metric":"exact","task":"short")");
  for (int i = 0; i < 800; ++i) tasks += prompt_line(3000, R"(,"metric":"exact","task":"long")");
  const std::string answers = bench.path("p.jsonl");
  Process process({.arguments = bench.tasks(
                       tasks, {"--samples", "0", "--predictions", answers, "--jsonl", "-q"})});
  REQUIRE(process.wait_until([&] {  // the first task's rows come as soon as they are known
    return lines_in(answers) > 5 * 4 && std::ranges::count(process.so_far().out, '\n') == 4;
  }));
  const OrderedJson rows = read_lines(interrupt(process, SIGTERM).out);
  REQUIRE(rows.size() == 8);
  CHECK(rows[0]["task"] == "short");
  CHECK(rows[0]["n"] == 3);
  CHECK(rows[4]["task"] == "long");
  CHECK(rows[4]["n"].get<size_t>() == lines_in(answers) / 4 - 3);
}

TEST_CASE("cli eval stopped: nothing is answered yet") {
  const EvalBench bench;
  const std::string answers = bench.path("p.jsonl"), plot = bench.path("p.svg");
  const std::string file = bench.path("result.json");
  Process process({.arguments = joined(long_needle(bench), {"--json", "-o", file, "--predictions",
                                                            answers, "--plot", plot})});
  REQUIRE(process.wait_for_error("eval  10 %"));
  const Finished run = interrupt(process);
  CHECK(run.out.empty());
  CHECK(run.err.find("eval  9") == std::string::npos);
  CHECK(json_of(read_file(file)) == OrderedJson{{"rows", OrderedJson::array()}});
  CHECK(read_file(answers).empty());
  CHECK(read_file(plot) == budget_plot_svg({}, "Needles in long.txt"));
}

TEST_CASE("cli eval stopped: ppl tells of the windows that are complete") {
  const EvalBench bench;
  const Words ppl =
      bench.eval({"ppl", "-f", bench.path("text.txt"), "--prefix", "64", "--score", "2000",
                  "--stride", "9", "--kv-policy", "sage", "--kv-budget", "16"});
  Process process(
      {.arguments = joined(ppl, {"--json", "--samples", "40", "--progress", "always"})});
  REQUIRE(process.wait_for_error("eval  10 %"));
  usleep(20000);  // into the tokens that are scored
  const OrderedJson rows = closed_rows(interrupt(process));
  REQUIRE(rows.size() == 1);
  const int64_t windows = rows[0]["windows"];
  CHECK(windows >= 4);
  CHECK(windows < 40);
  const OrderedJson same = rows_of(joined(ppl, {"--samples", std::to_string(windows)}));
  CHECK(timeless(rows) == timeless(same));
}

TEST_CASE("cli eval stopped: texts that cannot be read") {
  const EvalBench bench;
  const std::string none = bench.path("none"), folder = bench.dir.path().string();
  for (const std::string& file : {none, folder}) {
    refuse(bench.eval({"needle", "--haystack", file}), 6, {file});
    refuse(bench.needle({"--words", file}), 6, {file});
    refuse(bench.eval({"tasks", file}), 6, {file});
    refuse(bench.eval({"ppl", "-f", file}), 6, {file});
  }
  refuse({"eval", "-m", none, "ppl", "-f", bench.path("text.txt")}, 6, {none});
}

TEST_CASE("cli eval stopped: a malformed task is told with its line") {
  const EvalBench bench;
  const std::string file = bench.path("some.jsonl");
  const std::string good = prompt_line(3, R"(,"metric":"exact")");
  const auto refuse_line = [&](const std::string& line, std::string_view what) {
    refuse(bench.tasks(good + "\n" + line), 6, {file + ":3:", what});
  };
  refuse_line("{]\n", "");
  refuse_line("[]\n", "one JSON object");
  refuse_line(prompt_line(3, R"(,"metric":"accuracy")"), "'accuracy'");
  refuse_line(prompt_line(3, ""), "metric is missing");
  refuse_line(prompt_line(3, R"(,"metric":"exact","id":"1")"), "is that of line 1");
  refuse_line(prompt_line(3, R"(,"metric":"exact","answer":"a")"), "'answer'");
  refuse(bench.tasks("\n\n"), 6, {file, "no tasks"});
}

TEST_CASE("cli eval stopped: prompts that do not fit, and texts that are too short") {
  const EvalBench bench;
  refuse(bench.needle({"-c", "300"}), 7, {"context of 300", "-c raises it"});
  refuse(bench.eval({"needle", "--haystack", bench.path("text.txt"), "--lengths", "50"}), 7,
         {"a prompt of 50 tokens has no room"});
  write_file(bench.path("short.txt"), story(1));
  refuse(bench.eval({"needle", "--haystack", bench.path("short.txt"), "--lengths", "1000"}), 7,
         {"the haystack has", "1000"});
  refuse(bench.ppl({"-c", "83"}), 7, {"84 tokens", "83"});
  succeed(bench.ppl({"-c", "84"}));
  refuse(bench.eval({"ppl", "-f", bench.path("short.txt")}), 7, {"short.txt", "tokens", "4352"});

  // BOS, the prompt and what is to come; a middle that is cut out makes it fit.
  const std::string line = prompt_line(60, R"(,"metric":"exact","id":"p-1")");
  succeed(bench.tasks(line, {"-c", "67"}));
  const Words run = bench.tasks(line, {"-c", "66"});
  refuse(run, 7, {"task 'p-1' does not fit", "61 tokens", "6 to come", "66", "--truncate"});
  CHECK(rows_of(joined(run, {"--truncate"}))[0]["length"] == 60);
  refuse(bench.tasks(line, {"-c", "7", "--truncate"}), 7, {"task 'p-1' does not fit"});
}

// A sanitizer takes addresses of its own.
#if !defined(__SANITIZE_ADDRESS__)

TEST_CASE("cli eval stopped: memory that is not there") {
  const EvalBench bench;
  const std::string line =
      R"({"prompt":"x","answers":["a"],"metric":"exact","max_tokens":1000000})";
  const Words run = bench.tasks(line, {"-c", "1000100", "-q", "--kv-budget", "2000000"});
  // Four caches of 288 MB.
  fails({.arguments = run, .limits = {{RLIMIT_AS, rlim_t{1} << 30}}}, 4,
        {"out of memory", "4 KV caches"});
}

#endif

TEST_CASE("cli eval stopped: flags that make no sense for these texts") {
  const EvalBench bench;
  refuse(bench.eval({}), 2, {"needs one of 'needle'"});
  refuse(bench.needle({"--prefix", "3"}), 2, {"--prefix is an option of 'eval ppl'"});
  refuse(bench.needle({"--needles", "1000", "--words", bench.path("words.json")}), 6,
         {"words.json"});
  write_file(bench.path("words.json"),
             R"({"key_adjectives":["a"],"key_nouns":["b","c"],"value_words":["d"]})");
  refuse(bench.needle({"--needles", "3", "--words", bench.path("words.json")}), 2,
         {"--needles 3", "only 2 different keys"});
  const std::string line = prompt_line(30, R"(,"metric":"exact","id":"p-1")");
  refuse(bench.tasks(line, {"--question", "unseen"}), 2, {"task 'p-1' is one prompt", "unseen"});
  // A share of the shortest prompt counts, and not only of the longest.
  const std::string two =
      prompt_line(60, R"(,"metric":"exact")") + prompt_line(4, R"(,"metric":"exact")");
  refuse(bench.tasks(two, {"--kv-budget", "15%"}), 2, {"15%", "5 tokens"});
  refuse(bench.eval({"ppl", "-f", bench.path("text.txt"), "--kv-budget", "3"}), 2,
         {"--kv-budget 3 is too small"});
}

TEST_CASE("cli eval stopped: places that cannot be written") {
  const EvalBench bench;
  const std::string none = (bench.dir / "none" / "file").string();
  const std::string folder = bench.dir.path().string();
  for (const std::string option : {"-o", "--predictions", "--plot", "--heat-map"}) {
    CAPTURE(option);
    refuse(bench.needle({option, none}), 6, {none, "cannot write"});
    refuse(bench.needle({option, folder}), 6, {folder, "Is a directory"});
    // Pictures come last, when the result is written.
    Finished full = test::run(bench.needle({option, "/dev/full"}));
    CHECK(full.out.empty() == (option == "-o" || option == "--predictions"));
    full.out.clear();
    check_failure(full, 6, {"/dev/full", "No space left"});
  }
  refuse(bench.ppl({"-o", none}), 6, {none, "cannot write"});
  ProcessSpec full = {.arguments = bench.ppl()};
  full.streams[1] = {Stream::kFile, "/dev/full"};
  fails(full, 6, {"stdout: cannot write"});
}

}  // namespace winnow::test
