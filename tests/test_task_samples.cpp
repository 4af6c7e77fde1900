// Tasks as tokens: what is read when, and what becomes of a text that does not fit.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/eval/task_samples.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/expect_error.h"

namespace winnow::test {
namespace {

using Strings = std::vector<std::string>;

/// The tokens as text, BOS as "^".
std::string shown(const std::vector<int32_t>& ids) {
  std::string text;
  for (const int32_t id : ids) {
    text += id == ByteTokenizer::kBos ? "^" : ByteTokenizer().decode_piece(id, false);
  }
  return text;
}

Task with_question() {
  return {.id = "p-17",
          .task = "qa",
          .prompt = "",
          .context = "0123456789",
          .question = "Who?",
          .answers = {"Zoë", "zoe"},
          .metric = Metric::kRougeL,
          .max_tokens = 5,
          .stop = {"\n", "Q:"}};
}

Task one_prompt() {
  Task task = with_question();
  task.prompt = "0123456789";
  task.context.clear();
  task.question.clear();
  return task;
}

EvalSample sample_of(const Task& task, const TaskSampleOptions& options) {
  return task_sample(task, ByteTokenizer(), options);
}

/// What is read first of `task` where the context holds so many tokens.
std::string truncated(const Task& task, int64_t context, bool bos = false) {
  const EvalSample sample = sample_of(task, {.bos = bos, .truncate = true, .context = context});
  CHECK(sample.then.empty());
  return shown(sample.first);
}

TEST_CASE("task samples: a question that is seen is read with its context") {
  const EvalSample sample = sample_of(with_question(), {.context = 100});
  CHECK(shown(sample.first) == "^0123456789Who?");
  CHECK(sample.then.empty());
  CHECK(sample.tokens() == 15);
}

TEST_CASE("task samples: a question that is not seen is read after it, without another BOS") {
  const EvalSample sample =
      sample_of(with_question(), {.question = QuestionSeen::kAfter, .context = 100});
  CHECK(shown(sample.first) == "^0123456789");
  CHECK(shown(sample.then) == "Who?");
  CHECK(sample.tokens() == 15);
}

TEST_CASE("task samples: without BOS") {
  EvalSample sample = sample_of(with_question(), {.bos = false, .context = 100});
  CHECK(shown(sample.first) == "0123456789Who?");
  sample =
      sample_of(with_question(), {.question = QuestionSeen::kAfter, .bos = false, .context = 100});
  CHECK(shown(sample.first) == "0123456789");
  CHECK(shown(sample.then) == "Who?");
}

TEST_CASE("task samples: one prompt is read as it is, and has no question to come after it") {
  const EvalSample sample = sample_of(one_prompt(), {.context = 100});
  CHECK(shown(sample.first) == "^0123456789");
  CHECK(sample.then.empty());
  Task task = one_prompt();
  task.id = "a\nb";
  for (const bool truncate : {false, true}) {
    expect_error(ExitCode::kUsage, {R"(task 'a\x0ab' is one prompt)", "--question unseen"}, [&] {
      sample_of(task, {.question = QuestionSeen::kAfter, .truncate = truncate, .context = 100});
    });
  }
}

TEST_CASE("task samples: everything else of a task is passed on") {
  const EvalSample sample = sample_of(with_question(), {.context = 100});
  CHECK(sample.task == "qa");
  CHECK(sample.id == "p-17");
  CHECK(sample.answers == Strings{"Zoë", "zoe"});
  CHECK(sample.metric == Metric::kRougeL);
  CHECK(sample.max_tokens == 5);
  CHECK(sample.stop == Strings{"\n", "Q:"});
  CHECK(sample.length == 0);  // tasks have no length in common
  CHECK_FALSE(sample.depth.has_value());
}

TEST_CASE("task samples: a text that fits is whole, with --truncate and without") {
  // BOS, ten tokens of context, four of the question, five of the answer: 20.
  for (const bool truncate : {false, true}) {
    for (const QuestionSeen question : {QuestionSeen::kBefore, QuestionSeen::kAfter}) {
      const EvalSample sample =
          sample_of(with_question(), {.question = question, .truncate = truncate, .context = 20});
      CHECK(shown(sample.first) + shown(sample.then) == "^0123456789Who?");
    }
  }
}

TEST_CASE("task samples: a text with one token too many is refused, by the numbers") {
  for (const QuestionSeen question : {QuestionSeen::kBefore, QuestionSeen::kAfter}) {
    expect_error(
        ExitCode::kPrompt,
        {"task 'p-17' does not fit: 15 tokens and 5 to come", "context holds 19", "--truncate"},
        [&] { sample_of(with_question(), {.question = question, .context = 19}); });
  }
  // BOS counts: without it there is room.
  CHECK(sample_of(with_question(), {.bos = false, .context = 19}).tokens() == 14);
  expect_error(ExitCode::kPrompt, {"14 tokens and 5 to come", "context holds 18"},
               [] { sample_of(with_question(), {.bos = false, .context = 18}); });
  // So do the tokens to come.
  Task task = with_question();
  task.max_tokens = 4;
  CHECK(sample_of(task, {.context = 19}).tokens() == 15);
  expect_error(ExitCode::kPrompt, {"11 tokens and 5 to come", "context holds 15"},
               [] { sample_of(one_prompt(), {.context = 15}); });
}

TEST_CASE("task samples: truncation keeps both ends, the whole question, and BOS") {
  // The question and the answer take 9 tokens.
  CHECK(truncated(with_question(), 19) == "0123456789Who?");
  CHECK(truncated(with_question(), 18) == "012346789Who?");
  CHECK(truncated(with_question(), 17) == "01236789Who?");
  CHECK(truncated(with_question(), 16) == "0123789Who?");
  CHECK(truncated(with_question(), 12) == "019Who?");
  CHECK(truncated(with_question(), 11) == "09Who?");
  CHECK(truncated(with_question(), 10) == "0Who?");
  CHECK(truncated(with_question(), 13, true) == "^019Who?");
  CHECK(truncated(with_question(), 11, true) == "^0Who?");
}

TEST_CASE("task samples: truncation does not care when the question is read") {
  const EvalSample sample = sample_of(
      with_question(), {.question = QuestionSeen::kAfter, .truncate = true, .context = 14});
  CHECK(shown(sample.first) == "^0189");
  CHECK(shown(sample.then) == "Who?");
}

TEST_CASE("task samples: a prompt without a question loses its middle too") {
  CHECK(truncated(one_prompt(), 15) == "0123456789");
  CHECK(truncated(one_prompt(), 14) == "012346789");
  CHECK(truncated(one_prompt(), 6) == "0");
}

TEST_CASE("task samples: a truncated prompt has exactly as many tokens as there is room for") {
  for (int64_t context = 11; context <= 20; ++context) {
    CAPTURE(context);
    const EvalSample sample = sample_of(with_question(), {.truncate = true, .context = context});
    CHECK(sample.tokens() + sample.max_tokens == context);
  }
}

TEST_CASE("task samples: no room for a single token of the text, whatever is cut out") {
  // BOS, question and answer take 10.
  for (const int64_t context : {int64_t{10}, int64_t{9}, int64_t{1}, int64_t{0}}) {
    for (const bool truncate : {false, true}) {
      CAPTURE(context);
      expect_error(ExitCode::kPrompt,
                   {"task 'p-17' does not fit: 15 tokens and 5 to come",
                    "context holds " + std::to_string(context)},
                   [&] { sample_of(with_question(), {.truncate = truncate, .context = context}); });
    }
  }
  Task task = one_prompt();
  task.max_tokens = 1000000;
  expect_error(ExitCode::kPrompt, {"11 tokens and 1000000 to come"},
               [&] { sample_of(task, {.truncate = true, .context = 4096}); });
}

TEST_CASE("task samples: --truncate is only advised where it would help") {
  const auto message = [](int64_t context, bool truncate) -> std::string {
    try {
      sample_of(with_question(), {.truncate = truncate, .context = context});
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  CHECK(message(11, false).find("--truncate") != std::string::npos);
  CHECK(message(10, false).find("--truncate") == std::string::npos);
  CHECK(message(11, true).empty());
  CHECK(message(10, true).find("--truncate") == std::string::npos);
}

TEST_CASE("task samples: text that looks like BOS, NUL bytes and long characters are text") {
  Task task = with_question();
  task.context = std::string("<s>\0東", 7);
  const EvalSample sample = sample_of(task, {.context = 100});
  CHECK(shown(sample.first) == "^" + task.context + "Who?");
}

/// A tokenizer that joins what stands side by side: "9W" would be one token.
class JoiningTokenizer : public ByteTokenizer {
 public:
  static constexpr int32_t kJoined = 1000;

  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids = ByteTokenizer::encode(text);
    const std::vector<int32_t> pair = ByteTokenizer::encode("9W");
    const auto found = std::search(ids.begin(), ids.end(), pair.begin(), pair.end());
    if (found != ids.end()) ids.insert(ids.erase(found, found + 2), kJoined);
    return ids;
  }
};

TEST_CASE("task samples: context and question are tokenized apart, whenever the question comes") {
  const JoiningTokenizer tokenizer;
  REQUIRE(tokenizer.encode("9W") == std::vector<int32_t>{JoiningTokenizer::kJoined});
  const EvalSample seen = task_sample(with_question(), tokenizer, {.context = 100});
  CHECK(shown(seen.first) == "^0123456789Who?");
}

}  // namespace
}  // namespace winnow::test
