#include "src/eval/task_file.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "src/base/error.h"
#include "src/base/file.h"
#include "src/base/json.h"
#include "src/base/utf8.h"
#include "weights/config_reader.h"

namespace winnow {
namespace {

constexpr int64_t kMaxTokens = 1'000'000;

constexpr std::array<std::string_view, 10> kKeys = {"id",       "task",    "prompt", "context",
                                                    "question", "answers", "metric", "max_tokens",
                                                    "stop",     "length"};

std::string joined(std::span<const std::string_view> names) {
  std::string text;
  for (const std::string_view name : names) {
    if (!text.empty()) text += ", ";
    text += name;
  }
  return text;
}

/// A line of a file, for complaints.
struct Place {
  std::string file;
  int64_t line = 0;  // from 1

  template <class... Parts>
  [[noreturn]] void reject(const Parts&... parts) const {
    fail(ExitCode::kIo, file, ":", line, ": ", parts...);
  }
};

/// The lines of a file one after the other, read in blocks.
class LineReader {
 public:
  LineReader(const std::filesystem::path& path, uint64_t max_line_bytes)
      : file_(File::open(path)), max_bytes_(max_line_bytes), place_{path.string()} {}

  /// Of the line that was read last.
  const Place& place() const { return place_; }

  /// The next line without its LF; nothing after the last one.
  std::optional<std::string> next() {
    ++place_.line;
    std::string line;
    while (at_ < block_.size() || read_block()) {
      const size_t end = std::min(block_.find('\n', at_), block_.size());
      if (end - at_ > max_bytes_ - line.size()) {
        place_.reject("has more than the ", max_bytes_, " bytes that a line may have");
      }
      line.append(block_, at_, end - at_);
      at_ = end + 1;
      if (end < block_.size()) return line;
    }
    if (line.empty()) return std::nullopt;
    return line;
  }

 private:
  /// False at the end of the file.
  bool read_block() {
    constexpr uint64_t kBlockBytes = uint64_t{1} << 20;
    block_.resize(static_cast<size_t>(std::min(kBlockBytes, file_.size() - offset_)));
    file_.read_at(offset_, std::as_writable_bytes(std::span<char>(block_)));
    offset_ += block_.size();
    at_ = 0;
    return !block_.empty();
  }

  File file_;
  uint64_t max_bytes_;
  Place place_;
  uint64_t offset_ = 0;  // of the file, read so far
  std::string block_;
  size_t at_ = 0;  // in block_: where the next line starts, or goes on
};

Json parse_line(const Place& place, std::string_view line) {
  constexpr std::string_view kRule = "; a task is one JSON object on one line";
  Json json;
  try {
    json = parse_json(line, "");
  } catch (const Error& error) {
    // ":1:COLUMN: why", or ": why" for what is no JSON file at all. Its line is the only one that
    // it saw.
    std::string_view message = error.what();
    if (message.starts_with(":1:")) message.remove_prefix(2);
    fail(ExitCode::kIo, place.file, ":", place.line, message, kRule);
  }
  if (!json.is_object()) place.reject("is ", describe(json), kRule);
  return json;
}

Json* find(Json& object, std::string_view key) {
  const auto at = object.find(key);
  return at == object.end() ? nullptr : &*at;
}

Json& require(const Place& place, Json& object, std::string_view key) {
  Json* const value = find(object, key);
  if (value == nullptr) place.reject(key, " is missing");
  return *value;
}

/// The text of `value`, which is no longer there.
std::string take_text(const Place& place, Json& value, std::string_view key) {
  if (!value.is_string()) place.reject(key, " is ", describe(value), "; it must be a string");
  std::string text = std::move(value.get_ref<std::string&>());
  if (text.empty()) place.reject(key, " is empty");
  return text;
}

/// The same for a list of strings.
std::vector<std::string> take_texts(const Place& place, Json& value, std::string_view key) {
  if (!value.is_array()) {
    place.reject(key, " is ", describe(value), "; it must be a list of strings");
  }
  std::vector<std::string> texts;
  for (Json& element : value) {
    if (!element.is_string()) {
      place.reject(key, " holds ", describe(element), "; it must be a list of strings");
    }
    texts.push_back(std::move(element.get_ref<std::string&>()));
    if (texts.back().empty()) place.reject(key, " holds an empty string");
  }
  return texts;
}

void check_keys(const Place& place, const Json& object) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(kKeys.begin(), kKeys.end(), key) == kKeys.end()) {
      place.reject("unknown key ", quoted(key), "; there are ", joined(kKeys));
    }
  }
}

void take_input(const Place& place, Json& object, Task& task) {
  constexpr std::string_view kRule = "; a task has a prompt, or a context and a question";
  Json* const prompt = find(object, "prompt");
  Json* const context = find(object, "context");
  Json* const question = find(object, "question");
  const bool in_two = context != nullptr || question != nullptr;
  if (prompt != nullptr && in_two) {
    place.reject("prompt and ", context != nullptr ? "context" : "question", " are both given",
                 kRule);
  }
  if (prompt != nullptr) {
    task.prompt = take_text(place, *prompt, "prompt");
    return;
  }
  if (!in_two) place.reject("prompt is missing", kRule);
  if (context == nullptr) place.reject("question without context", kRule);
  if (question == nullptr) place.reject("context without question", kRule);
  task.context = take_text(place, *context, "context");
  task.question = take_text(place, *question, "question");
}

std::string take_id(const Place& place, Json& object) {
  Json* const value = find(object, "id");
  if (value == nullptr) return std::to_string(place.line);
  if (value->is_number_integer()) return value->dump();
  if (!value->is_string()) {
    place.reject("id is ", describe(*value), "; it must be a string or an integer");
  }
  return take_text(place, *value, "id");
}

Metric take_metric(const Place& place, Json& object) {
  const std::string name = take_text(place, require(place, object, "metric"), "metric");
  const std::optional<Metric> metric = find_metric(name);
  if (!metric) {
    place.reject("metric is ", quoted(name), "; it must be one of ", joined(metric_names()));
  }
  return *metric;
}

int64_t take_max_tokens(const Place& place, Json& object) {
  const Json& value = require(place, object, "max_tokens");
  // As int64_t, an integer over its range is negative.
  if (!value.is_number_integer() || value.get<int64_t>() < 1 || value.get<int64_t>() > kMaxTokens) {
    place.reject("max_tokens is ", describe(value), "; it must be an integer from 1 to ",
                 kMaxTokens);
  }
  return value.get<int64_t>();
}

Task take_task(const Place& place, Json& object, const std::string& default_task) {
  check_keys(place, object);
  Task task;
  task.id = take_id(place, object);
  Json* const name = find(object, "task");
  task.task = name == nullptr ? default_task : take_text(place, *name, "task");
  take_input(place, object, task);
  task.answers = take_texts(place, require(place, object, "answers"), "answers");
  if (task.answers.empty()) place.reject("answers is empty; at least one must be right");
  task.metric = take_metric(place, object);
  task.max_tokens = take_max_tokens(place, object);
  Json* const stop = find(object, "stop");
  if (stop != nullptr) task.stop = take_texts(place, *stop, "stop");
  const Json* const length = find(object, "length");
  if (length != nullptr && !length->is_number()) {
    place.reject("length is ", describe(*length), "; it must be a number");
  }
  return task;
}

}  // namespace

std::vector<Task> read_task_file(const std::filesystem::path& path, uint64_t max_line_bytes) {
  // A file's name may be any bytes.
  const std::string default_task = utf8_replace_invalid(path.stem().string());
  LineReader lines(path, max_line_bytes);
  const Place& place = lines.place();
  std::vector<Task> tasks;
  std::unordered_map<std::string, int64_t> line_of_id;
  while (const std::optional<std::string> line = lines.next()) {
    if (line->find_first_not_of(" \t\r") == std::string::npos) continue;
    Json object = parse_line(place, *line);
    const Task& task = tasks.emplace_back(take_task(place, object, default_task));
    const auto [other, is_new] = line_of_id.try_emplace(task.id, place.line);
    if (!is_new) {
      place.reject("id ", quoted(task.id), " is that of line ", other->second,
                   " already; an id stands for one task");
    }
  }
  if (tasks.empty()) fail(ExitCode::kIo, place.file, ": has no tasks; each line is one");
  return tasks;
}

}  // namespace winnow
