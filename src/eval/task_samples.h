// Tasks from a file as what a model reads.
#pragma once

#include <cstdint>
#include <vector>

#include "src/eval/row.h"
#include "src/eval/sample.h"
#include "src/eval/task_file.h"
#include "tokenizer/tokenizer.h"

namespace winnow {

struct TaskSampleOptions {
  QuestionSeen question = QuestionSeen::kBefore;
  bool bos = true;        // texts open with BOS
  bool truncate = false;  // texts that do not fit lose their middle
  int64_t context = 0;    // tokens that the model may hold, the answer included
};

/// The tokens of a task. Context and question are tokenized apart, so that a context has the same
/// tokens whenever its question comes; where it comes after, rows are dropped between them.
///
/// A text that does not fit fails with kPrompt, naming the task. With `truncate` it loses tokens in
/// the middle, as in LongBench; the question loses none.
///
/// Fails with kUsage where the question is to come after a text that has none.
EvalSample task_sample(const Task& task, const Tokenizer& tokenizer,
                       const TaskSampleOptions& options);

}  // namespace winnow
