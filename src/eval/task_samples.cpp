#include "src/eval/task_samples.h"

#include "src/base/error.h"

namespace winnow {
namespace {

/// The first and the last tokens of `tokens`, `n` in all.
std::vector<int32_t> without_middle(const std::vector<int32_t>& tokens, int64_t n) {
  std::vector<int32_t> kept(tokens.begin(), tokens.begin() + (n + 1) / 2);
  kept.insert(kept.end(), tokens.end() - n / 2, tokens.end());
  return kept;
}

}  // namespace

EvalSample task_sample(const Task& task, const Tokenizer& tokenizer,
                       const TaskSampleOptions& options) {
  const bool whole = task.context.empty();
  const bool after = options.question == QuestionSeen::kAfter;
  if (whole && after) {
    fail(ExitCode::kUsage, "task ", quoted(task.id),
         " is one prompt: --question unseen needs context and question");
  }
  std::vector<int32_t> text = tokenizer.encode(whole ? task.prompt : task.context);
  const std::vector<int32_t> question = tokenizer.encode(task.question);
  const int64_t bos = options.bos ? 1 : 0;
  const int64_t room = options.context - bos - std::ssize(question) - task.max_tokens;
  if (std::ssize(text) > room) {
    if (!options.truncate || room < 1) {
      fail(ExitCode::kPrompt, "task ", quoted(task.id),
           " does not fit: ", std::ssize(text) + std::ssize(question) + bos, " tokens and ",
           task.max_tokens, " to come, and the context holds ", options.context,
           room < 1 ? "" : "; --truncate cuts out the middle");
    }
    text = without_middle(text, room);
  }
  EvalSample sample{.task = task.task, .id = task.id};
  if (options.bos) sample.first.push_back(*tokenizer.bos());
  sample.first.insert(sample.first.end(), text.begin(), text.end());
  std::vector<int32_t>& last = after ? sample.then : sample.first;
  last.insert(last.end(), question.begin(), question.end());
  sample.answers = task.answers;
  sample.metric = task.metric;
  sample.max_tokens = task.max_tokens;
  sample.stop = task.stop;
  return sample;
}

}  // namespace winnow
