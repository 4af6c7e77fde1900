// Files of tasks: what is read, and every way in which a line can be wrong.
#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <vector>

#include "src/eval/task_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/temp_dir.h"

namespace winnow::test {
namespace {

using Strings = std::vector<std::string>;

/// A line that is right, to be made wrong.
const std::string kGood =
    R"({"id": "a", "prompt": "2 + 2 =", "answers": ["4"], "metric": "count", "max_tokens": 8})";

std::vector<Task> read_text(std::string_view text, std::string_view name = "sums.v1.jsonl") {
  const TempDir dir;
  write_file(dir / name, text);
  return read_task_file(dir / name);
}

void refuse(const std::string& text, std::initializer_list<std::string_view> parts) {
  CAPTURE(text.substr(0, 200));
  expect_error(ExitCode::kIo, parts, [&] { read_text(text); });
}

/// kGood with `to` in the place of `from`.
std::string good_but(const std::string& from, const std::string& to) {
  std::string line = kGood;
  const size_t at = line.find(from);
  REQUIRE(at != std::string::npos);
  return line.replace(at, from.size(), to);
}

/// kGood with more keys.
std::string good_with(const std::string& members) {
  return good_but("}", ", " + members + "}");
}

TEST_CASE("task file: a prompt, and what is taken where nothing is said") {
  const std::vector<Task> tasks = read_text(kGood);
  REQUIRE(tasks.size() == 1);
  const Task& task = tasks[0];
  CHECK(task.id == "a");
  CHECK(task.task == "sums.v1");
  CHECK(task.prompt == "2 + 2 =");
  CHECK(task.context.empty());
  CHECK(task.question.empty());
  CHECK(task.answers == Strings{"4"});
  CHECK(task.metric == Metric::kCount);
  CHECK(task.max_tokens == 8);
  CHECK(task.stop.empty());
}

TEST_CASE("task file: a context with a question, and every other key") {
  const std::vector<Task> tasks =
      read_text(R"({"length": 8192.5, "stop": ["\n", "Q:"], "task": "qa", "max_tokens": 1000000,)"
                R"( "metric": "rouge_l", "answers": ["Zoë", "zo\u00eb"], "question": "Who?",)"
                R"( "context": "It was Zoë.\r\n", "id": -7})");
  REQUIRE(tasks.size() == 1);
  const Task& task = tasks[0];
  CHECK(task.id == "-7");
  CHECK(task.task == "qa");
  CHECK(task.prompt.empty());
  CHECK(task.context == "It was Zoë.\r\n");
  CHECK(task.question == "Who?");
  CHECK(task.answers == Strings{"Zoë", "zoë"});
  CHECK(task.metric == Metric::kRougeL);
  CHECK(task.max_tokens == 1000000);
  CHECK(task.stop == Strings{"\n", "Q:"});
}

TEST_CASE("task file: blank lines, both line ends, and no line end at the end") {
  const std::string other = good_but("\"id\": \"a\", ", "");
  const std::vector<Task> tasks =
      read_text("\n \t\r\n" + other + "\r\n\n" + kGood + "\n" + other + " \n" + other);
  REQUIRE(tasks.size() == 4);
  CHECK(tasks[0].id == "3");  // the line's number
  CHECK(tasks[1].id == "a");
  CHECK(tasks[2].id == "6");
  CHECK(tasks[3].id == "7");
}

TEST_CASE("task file: lines longer than a block, and ends at the ends of blocks") {
  constexpr size_t kBlock = size_t{1} << 20;
  std::string text;
  Strings prompts;
  // Lines with their LF: a block, a byte more, a byte less, short ones, and more than two blocks.
  for (const size_t bytes : {kBlock, kBlock + 1, kBlock - 1, size_t{300}, 2 * kBlock + 77}) {
    const size_t others =
        good_but("2 + 2 =", "").size() - std::string("\"id\": \"a\", ").size() + 1;
    std::string prompt;
    for (size_t i = 0; i < bytes - others; ++i) prompt += static_cast<char>('a' + i % 23);
    std::string line = good_but("\"id\": \"a\", ", "");
    line.replace(line.find("2 + 2 ="), 7, prompt);
    text += line + "\n";
    REQUIRE(line.size() + 1 == bytes);
    prompts.push_back(prompt);
  }
  const std::vector<Task> tasks = read_text(text);
  REQUIRE(tasks.size() == prompts.size());
  for (size_t i = 0; i < tasks.size(); ++i) CHECK((tasks[i].prompt == prompts[i]));
}

TEST_CASE("task file: a file's name may be any bytes") {
  CHECK(read_text(kGood, "\xff.jsonl")[0].task == "\ufffd");
}

TEST_CASE("task file: what cannot be read, or has no tasks") {
  const TempDir dir;
  expect_error(ExitCode::kIo, {"absent.jsonl", "No such file"},
               [&] { read_task_file(dir / "absent.jsonl"); });
  expect_error(ExitCode::kIo, {"is a directory"}, [&] { read_task_file(dir.path()); });
  refuse("", {"sums.v1.jsonl: has no tasks"});
  refuse("\n \n\r\n", {"sums.v1.jsonl: has no tasks"});
}

TEST_CASE("task file: a line may have so many bytes and no more") {
  const TempDir dir;
  write_file(dir / "t.jsonl", kGood + "\n" + good_but("\"a\"", "\"bc\"") + "\n");
  CHECK(read_task_file(dir / "t.jsonl", kGood.size() + 1).size() == 2);
  expect_error(ExitCode::kIo, {"t.jsonl:2: has more than the ", " bytes that a line may have"},
               [&] { read_task_file(dir / "t.jsonl", kGood.size()); });
  write_file(dir / "open.jsonl", std::string(10, ' '));
  expect_error(ExitCode::kIo, {"open.jsonl:1: has more than the 9 bytes"},
               [&] { read_task_file(dir / "open.jsonl", 9); });
}

TEST_CASE("task file: what is no JSON object names line and column") {
  refuse(kGood + "\n\n{\"id\": 1,}", {"sums.v1.jsonl:3:10: ", "one JSON object on one line"});
  refuse("{\n\"prompt\": \"x\"}", {"sums.v1.jsonl:1:1: "});  // over several lines
  refuse(kGood + " " + kGood, {"sums.v1.jsonl:1:"});         // two on one
  refuse("[1]", {"sums.v1.jsonl:1: is a list", "one JSON object"});
  refuse("7", {"sums.v1.jsonl:1: is 7"});
  refuse(kGood + "\nnull\n", {"sums.v1.jsonl:2: is null"});
  refuse("\xef\xbb\xbf" + kGood, {"sums.v1.jsonl:1:1: ", "byte order mark"});
  refuse(std::string("{\0", 2), {"sums.v1.jsonl:1:2: ", "NUL"});
  refuse("version https://git-lfs.github.com/spec/v1", {"sums.v1.jsonl:1: ", "git-LFS pointer"});
  refuse(good_but("\"a\"", "\"\xff\""), {"sums.v1.jsonl:1:9: ", "UTF-8"});
  refuse(good_with(R"("max_tokens": 9)"), {"sums.v1.jsonl:1:", "duplicate key 'max_tokens'"});
}

TEST_CASE("task file: unknown keys are named") {
  refuse(good_with(R"("answer": "4")"), {":1: unknown key 'answer'", "id, task, prompt, context"});
  refuse(good_with(R"("\u001b[2J": 1)"), {R"(unknown key '\x1b[2J')"});
}

TEST_CASE("task file: keys that must be there") {
  refuse(good_but(R"("answers": ["4"], )", ""), {":1: answers is missing"});
  refuse(good_but(R"("metric": "count", )", ""), {":1: metric is missing"});
  refuse(good_but(R"(, "max_tokens": 8)", ""), {":1: max_tokens is missing"});
  refuse("{}", {":1: ", " is missing"});
}

TEST_CASE("task file: a prompt, or a context and a question") {
  const std::string prompt = R"("prompt": "2 + 2 =")";
  const std::string context = R"("context": "c")";
  const std::string question = R"("question": "q")";
  const auto with = [&](const std::string& input) { return good_but(prompt, input); };
  refuse(good_but(prompt + ", ", ""), {":1: prompt is missing; a task has a prompt, or a context"});
  refuse(with(prompt + ", " + context), {":1: prompt and context are both given"});
  refuse(with(prompt + ", " + question), {":1: prompt and question are both given"});
  refuse(with(prompt + ", " + context + ", " + question), {"are both given"});
  refuse(with(context), {":1: context without question"});
  refuse(with(question), {":1: question without context"});
  refuse(with(R"("prompt": "")"), {":1: prompt is empty"});
  refuse(with(R"("prompt": null)"), {":1: prompt is null; it must be a string"});
  refuse(with(R"("context": "", "question": "q")"), {":1: context is empty"});
  refuse(with(R"("context": "c", "question": "")"), {":1: question is empty"});
  refuse(with(R"("context": ["c"], "question": "q")"), {":1: context is a list"});
  refuse(with(R"("context": "c", "question": {})"), {":1: question is an object"});
}

TEST_CASE("task file: answers") {
  const auto with = [](const std::string& answers) { return good_but(R"(["4"])", answers); };
  refuse(with("[]"), {":1: answers is empty"});
  refuse(with(R"("4")"), {":1: answers is '4'; it must be a list of strings"});
  refuse(with("[4]"), {":1: answers holds 4; it must be a list of strings"});
  refuse(with(R"(["4", null])"), {":1: answers holds null"});
  refuse(with(R"(["4", ""])"), {":1: answers holds an empty string"});
}

TEST_CASE("task file: metrics") {
  refuse(good_but("\"count\"", "\"F1\""),
         {":1: metric is 'F1'; it must be one of exact, contains, contains_any, f1, rouge_l, "
          "edit_sim, count"});
  refuse(good_but("\"count\"", "1"), {":1: metric is 1; it must be a string"});
  for (const std::string_view name : metric_names()) {
    const std::vector<Task> tasks = read_text(good_but("count", std::string(name)));
    CHECK(metric_name(tasks[0].metric) == name);
  }
}

TEST_CASE("task file: max_tokens") {
  for (const char* value : {"0", "-1", "1000001", "8.0", "\"8\"", "null", "9223372036854775808",
                            "18446744073709551615", "99999999999999999999"}) {
    refuse(good_but(": 8", std::string(": ") + value),
           {":1: max_tokens is ", "; it must be an integer from 1 to 1000000"});
  }
  CHECK(read_text(good_but(": 8", ": 1"))[0].max_tokens == 1);
}

TEST_CASE("task file: stop, task and length") {
  CHECK(read_text(good_with(R"("stop": [])"))[0].stop.empty());
  refuse(good_with(R"("stop": "x")"), {":1: stop is 'x'; it must be a list of strings"});
  refuse(good_with(R"("stop": ["x", ""])"), {":1: stop holds an empty string"});
  refuse(good_with(R"("stop": [1])"), {":1: stop holds 1"});
  refuse(good_with(R"("task": 3)"), {":1: task is 3; it must be a string"});
  refuse(good_with(R"("task": "")"), {":1: task is empty"});
  refuse(good_with(R"("length": "8k")"), {":1: length is '8k'; it must be a number"});
}

TEST_CASE("task file: ids") {
  CHECK(read_text(good_but("\"a\"", "18446744073709551615"))[0].id == "18446744073709551615");
  refuse(good_but("\"a\"", "\"\""), {":1: id is empty"});
  refuse(good_but("\"a\"", "1.5"), {":1: id is 1.5; it must be a string or an integer"});
  refuse(good_but("\"a\"", "true"), {":1: id is true"});
  refuse(kGood + "\n\n" + kGood, {":3: id 'a' is that of line 1 already"});
  // A number, its text, and the number of a line are the same id.
  refuse(good_but("\"a\"", "7") + "\n" + good_but("\"a\"", "\"7\""),
         {":2: id '7' is that of line 1"});
  refuse(good_but("\"a\"", "2") + "\n" + good_but("\"id\": \"a\", ", ""),
         {":2: id '2' is that of line 1"});
}

}  // namespace
}  // namespace winnow::test
