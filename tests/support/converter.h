// tools/convert_tasks as its users meet it: files of a benchmark, and a command.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "src/eval/task_file.h"
#include "tests/support/process.h"

namespace winnow::test {

using OrderedJson = nlohmann::ordered_json;

inline Words plus(Words first, const Words& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

/// The prompt of a task, in one piece or two.
inline std::string whole(const OrderedJson& task) {
  if (task.contains("prompt")) return task["prompt"];
  return task["context"].get<std::string>() + task["question"].get<std::string>();
}

/// A Python with match statements; empty where there is none.
inline std::string find_python() {
  const char* const code =
      "import sys; print(sys.executable, end='') if sys.version_info >= (3, 10) "
      "else sys.exit(1)";
  const Finished found =
      run(ProcessSpec{.arguments = {"python3", "-c", code}, .program = "/usr/bin/env"});
  return found.code == 0 ? found.out : "";
}

/// A folder with a benchmark's files, and the converter run in it.
class Bench {
 public:
  bool can_run() const {
    if (python_.empty()) MESSAGE("skipped: no python3 of 3.10 or newer here");
    return !python_.empty();
  }

  void put(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((dir_ / name).parent_path());
    write_file(dir_ / name, text);
  }
  std::string get(const std::string& name) const { return read_file(dir_ / name); }

  Finished convert(const Words& arguments) const {
    const auto script = std::filesystem::absolute("tools/convert_tasks/convert.py");
    return run(ProcessSpec{.arguments = plus({script.string()}, arguments),
                           .environment = {{"PYTHONDONTWRITEBYTECODE", "1"}},
                           .directory = dir_.path(),
                           .program = python_});
  }

  /// The tasks of a run that must go well, and whose file winnow must take.
  std::vector<OrderedJson> tasks(const Words& arguments) const {
    const Finished done = convert(plus(arguments, {"-o", "out.jsonl"}));
    CHECK(done.err == "");
    REQUIRE(done.code == 0);
    std::vector<OrderedJson> tasks;
    std::istringstream lines(get("out.jsonl"));
    for (std::string line; std::getline(lines, line);) tasks.push_back(OrderedJson::parse(line));
    CHECK(read_task_file(dir_ / "out.jsonl").size() == tasks.size());
    return tasks;
  }

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  TempDir dir_;
  std::string python_ = find_python();
};

}  // namespace winnow::test
