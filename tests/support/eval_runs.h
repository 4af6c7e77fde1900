// Runs of `winnow eval` over a model that takes no time and says nothing of sense, what they write,
// and signals.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "src/base/error.h"
#include "src/cli/interrupt.h"
#include "src/eval/row.h"
#include "tests/support/winnow_runs.h"

namespace winnow::test {

/// The model, a text to hide in, and places for results.
struct EvalBench {
  EvalBench() { write_file(dir / "text.txt", story(80)); }

  TinyDir tiny{{.max_positions = 4096}};
  TempDir dir;

  std::string path(const std::string& name) const { return (dir / name).string(); }
  Words eval(const Words& what, const Words& more = {}) const {
    return joined(joined({"eval", "-m", tiny.name()}, what), more);
  }
  Words needle(const Words& more = {}) const {
    return eval({"needle", "--haystack", path("text.txt"), "--lengths", "256,320", "--samples", "3",
                 "--depths", "2", "--kv-budget", "32,64"},
                more);
  }
  Words ppl(const Words& more = {}) const {
    return eval({"ppl", "-f", path("text.txt"), "--prefix", "64", "--score", "20", "--samples", "3",
                 "--kv-budget", "16"},
                more);
  }
  /// A task file of `lines`, and the run over it.
  Words tasks(const std::string& lines, const Words& more = {}) const {
    write_file(dir / "some.jsonl", lines);
    return eval({"tasks", path("some.jsonl")}, more);
  }
};

/// `rows` without what is never the same twice.
inline OrderedJson timeless(OrderedJson rows) {
  for (OrderedJson& row : rows) row.erase("ms_per_token");
  return rows;
}

/// Of `winnow ... --json -q`.
inline OrderedJson rows_of(const Words& run) {
  return json_result(run)["rows"];
}

/// JSON lines.
inline OrderedJson read_lines(const std::string& text) {
  OrderedJson lines = OrderedJson::array();
  for (const std::string& line : lines_of(text)) lines.push_back(json_of(line));
  return lines;
}

/// The rows as the pictures take them.
inline std::vector<EvalRow> eval_rows(const OrderedJson& rows) {
  std::vector<EvalRow> all;
  for (const OrderedJson& row : rows) {
    EvalRow& to = all.emplace_back();
    to.task = row["task"];
    to.policy = row["policy"];
    if (!row["budget"].is_null()) to.budget = row["budget"].get<int64_t>();
    to.question = row["question"] == "seen" ? QuestionSeen::kBefore : QuestionSeen::kAfter;
    to.length = row["length"];
    if (!row["depth"].is_null()) to.depth = row["depth"].get<double>();
    to.n = row["n"];
    to.accuracy = row["accuracy"];
    to.ci95 = {row["ci95"][0], row["ci95"][1]};
    to.rows_kept = row["rows_kept"];
    to.bytes_kept = row["bytes_kept"];
    to.bytes_peak = row["bytes_peak"];
    to.footprint = row["footprint"];
    to.occupancy = row["occupancy"];
    to.ms_per_token = row["ms_per_token"];
  }
  return all;
}

/// A line of a task file: its input, and what it has beside answers and max_tokens.
inline std::string task_line(const std::string& text, const std::string& more) {
  return "{" + text + R"(,"answers":["a","x x"],"max_tokens":6)" + more + "}\n";
}
/// The same with a prompt of `n` tokens, and BOS.
inline std::string prompt_line(int64_t n, const std::string& more) {
  return task_line(R"("prompt":")" + text_of(n) + "\"", more);
}

/// The exit code that `body` fails with, 0 where it does not; in a process of its own, so that the
/// signal is nobody else's.
inline int code_of(const std::function<void()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    install_interrupt_handlers();
    try {
      body();
    } catch (const Error& error) {
      _exit(static_cast<int>(error.code()));
    }
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

}  // namespace winnow::test
