// Tasks from a file: prompts with their right answers, one JSON object a line.
//
//   {"id": "p-17", "prompt": "...", "answers": ["Paris"], "metric": "f1", "max_tokens": 32}
//   {"context": "...", "question": "...", "answers": ["4", "four"], "metric": "contains_any",
//    "max_tokens": 8, "task": "sums", "stop": ["\n"], "length": 8192}        (on one line)
//
//   prompt               the whole text, or instead of it
//   context, question    a text and what is asked about it: both
//   answers              strings, at least one, any of which is right
//   metric               a name of src/eval/metrics.h
//   max_tokens           to generate, 1..1000000
//   id                   a string or an integer, each only once in the file; default: the line's
//                        number
//   task                 a name to group by; default: the file's name without its ending
//   stop                 strings; the answer ends before the first of them that comes
//   length               a number, which is not used
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "src/eval/metrics.h"

namespace winnow {

struct Task {
  std::string id;
  std::string task;
  std::string prompt;    // empty where there are the other two
  std::string context;   // empty where there is a prompt
  std::string question;  // the same
  std::vector<std::string> answers;
  Metric metric = Metric::kExact;
  int64_t max_tokens = 0;
  std::vector<std::string> stop;
};

constexpr uint64_t kMaxTaskLineBytes = uint64_t{256} << 20;

/// The tasks of the file in their order, never none. Lines end with LF or CRLF; blank ones are
/// passed over.
///
/// Fails with kIo, like all that is wrong with a file that the user names for its text: where it
/// cannot be read, and with FILE:LINE or FILE:LINE:COLUMN for what is not as above. That is every
/// line that src/base/json.h refuses (invalid UTF-8, duplicate keys, a byte order mark, ...) or
/// that has more than `max_line_bytes`, an unknown key, a missing one, a value of another type or
/// out of range, and an empty string or list, but for "stop": [].
std::vector<Task> read_task_file(const std::filesystem::path& path,
                                 uint64_t max_line_bytes = kMaxTaskLineBytes);

}  // namespace winnow
