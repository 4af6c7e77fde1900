// Command lines of every kind: whatever stands there, the binary ends by itself with a documented
// exit code, and where it fails, with one line.
#include <doctest/doctest.h>

#include <set>
#include <string>

#include "tests/support/winnow_runs.h"

namespace winnow::test {
namespace {

/// Exit codes 0..7 and what belongs to them on the streams.
void check_orderly(const Words& line, const TempDir& directory) {
  std::string shown;
  for (const std::string& word : line) shown += " '" + word.substr(0, 60) + "'";
  CAPTURE(shown);
  const Finished run = test::run({.arguments = line, .directory = directory.path()});
  CAPTURE(run.err);
  CHECK(run.code >= 0);
  CHECK(run.code <= 7);
  if (run.code == 0) return;
  check_failure(run, run.code);
}

const Words kCommandNames = {"generate", "tokenize", "inspect", "check", "logits", "bench"};

}  // namespace

TEST_CASE("cli words: help and version go to stdout") {
  CHECK(succeed({"--version"}).out.starts_with("winnow "));
  const std::string help = succeed({"--help"}).out;
  for (const std::string& name : kCommandNames) {
    CHECK(help.find(name) != std::string::npos);
    const Finished run = succeed({name, "--help"});
    CHECK(run.err.empty());
    CHECK(run.out.find("--model DIR") != std::string::npos);
    for (const std::string& line : lines_of(run.out)) CHECK(line.size() <= 100);
  }
}

TEST_CASE("cli words: what is wrong with a line is said with exit code 2") {
  struct Case {
    Words line;
    std::string_view part;
  };
  const Words g = {"generate", "-m", kDemo, "-p", "x"};
  const Case cases[] = {
      {{}, "no command"},
      {{"genrate"}, "did you mean 'generate'?"},
      {{"generate"}, "-m DIR"},
      {joined(g, {"--tmep", "1"}), "did you mean '--temp'?"},
      {joined(g, {"--temp", "nan"}), "--temp"},
      {joined(g, {"--temp", "inf"}), "--temp"},
      {joined(g, {"--temp", "-1"}), "--temp"},
      {joined(g, {"--temp", "0,8"}), "--temp"},
      {joined(g, {"--temp", "1e400"}), "--temp"},
      {joined(g, {"--temp", ""}), "--temp"},
      {joined(g, {"--top-p", "0"}), "--top-p"},
      {joined(g, {"--top-p", "1.1"}), "--top-p"},
      {joined(g, {"--top-k", "-1"}), "--top-k"},
      {joined(g, {"--min-p", "1.5"}), "--min-p"},
      {joined(g, {"--repeat-penalty", "0"}), "--repeat-penalty"},
      {joined(g, {"--seed", "-1"}), "--seed"},
      {joined(g, {"--seed", "18446744073709551616"}), "--seed"},
      {joined(g, {"--seed", "0x10"}), "--seed"},
      {joined(g, {"--stop", ""}), "--stop"},
      {joined(g, {"--threads", "0"}), "--threads"},
      {joined(g, {"--threads", "1025"}), "--threads"},
      {joined(g, {"--kv-policy", "best"}), "--kv-policy"},
      {joined(g, {"--kv-budget", "0"}), "--kv-budget"},
      {joined(g, {"--logprobs", "1"}), "--json"},
      {joined(g, {"--logprobs", "21", "--json"}), "--logprobs"},
      {joined(g, {"--json", "--jsonl"}), "exclude"},
      {joined(g, {"-q", "-v"}), "exclude"},
      {joined(g, {"-p", "y"}), "more than once"},
      {joined(g, {"stray"}), "stray"},
      {joined(g, {"--device", "tpu"}), "--device"},
  };
  for (const Case& c : cases) fails(c.line, 2, {c.part});
}

TEST_CASE("cli words: numbers are read the same in every locale") {
  for (const char* locale : {"C", "de_DE.UTF-8", "tr_TR.UTF-8", "nonsense"}) {
    ProcessSpec spec{.arguments = {"generate", "-m", kDemo, "-p", "x", "-n", "3", "--json",
                                   "--temp", "0.5", "--seed", "1"},
                     .environment = {{"LC_ALL", locale}, {"LANG", locale}}};
    CHECK(json_of(succeed(spec).out)["timings"]["predicted_n"] == 3);
    spec.arguments.insert(spec.arguments.end(), {"--top-p", "0,5"});
    fails(spec, 2);
  }
}

TEST_CASE("cli words: every option with every strange value, on every command") {
  const TinyDir tiny;
  const TempDir out;
  const Words values = {"",        "-",     "--",        "-1",    "0",
                        "1e999",   "nan",   "\xff",      "a\nb",  "%s%n",
                        "1,2,,3",  "'\"\\", "/dev/null", "../..", std::string(5000, 'A'),
                        "\x1b[31m"};
  const Words options = {"-m",       "-p",      "-f",        "-o",        "-n",
                         "-c",       "--ids",   "-r",        "--stop",    "--temp",
                         "--seed",   "--bos",   "--format",  "--threads", "--prefill-rows",
                         "--device", "--color", "--progress"};
  // A fixed walk through the table: every option meets every value on some command.
  size_t at = 0;
  for (const std::string& option : options) {
    for (const std::string& value : values) {
      const std::string& name = kCommandNames[at++ % kCommandNames.size()];
      Words line = {name, option, value};
      if (option != "-m") line.insert(line.end(), {"-m", tiny.name()});
      if (name == "logits" && option != "-o") {
        line.insert(line.end(), {"-o", (out / "out.npy").string()});
      }
      if (name == "bench") line.insert(line.end(), {"--jsonl"});
      // What is given twice, or to a command that does not know it, is refused; also in order.
      if (name == "generate" && option != "-n") line.insert(line.end(), {"-n", "2"});
      if (name == "bench" && option != "-r") line.insert(line.end(), {"-r", "1"});
      check_orderly(line, out);
    }
  }
}

TEST_CASE("cli words: random lines end in order") {
  const TinyDir tiny;
  const Words vocabulary = {"generate",
                            "tokenize",
                            "inspect",
                            "check",
                            "bench",
                            "--help",
                            "--version",
                            "-m",
                            tiny.name(),
                            "-p",
                            "x",
                            "-f",
                            "-n",
                            "1",
                            "-1",
                            "0",
                            "--json",
                            "--jsonl",
                            "-q",
                            "-v",
                            "-vv",
                            "--",
                            "-",
                            "--temp",
                            "0.5",
                            "--temp=1",
                            "--stop",
                            "--bos",
                            "yes",
                            "--echo",
                            "--format",
                            "text",
                            "-c",
                            "99",
                            "-qm",
                            "-x",
                            "--kv-policy",
                            "full",
                            "",
                            "--threads",
                            "--=",
                            "=",
                            "--json=1",
                            "-p=x",
                            "--seed=1",
                            "--device=cpu",
                            "-o",
                            "/dev/null"};
  const TempDir out;
  TestRandom random(7);
  for (int i = 0; i < 160; ++i) {
    const auto below = [&](size_t n) {
      const auto share = static_cast<double>(random.next() + 1) / 2;
      return std::min(static_cast<size_t>(share * static_cast<double>(n)), n - 1);
    };
    Words line;
    const size_t length = below(9);
    for (size_t k = 0; k < length; ++k) line.push_back(vocabulary[below(vocabulary.size())]);
    // Half of them get a chance to run.
    if (i % 2 == 0) line = joined({kCommandNames[below(4)], "-m", tiny.name(), "-p", "x"}, line);
    check_orderly(line, out);
  }
}

}  // namespace winnow::test
