#include "src/text_stream.h"

#include <algorithm>
#include <utility>

#include "src/base/error.h"

namespace winnow {

TextStream::TextStream(std::vector<std::string> stop_strings)
    : stop_strings_(std::move(stop_strings)) {
  for (std::string& stop : stop_strings_) {
    WINNOW_CHECK(!stop.empty(), "an empty stop string would stop at once");
    stop = utf8_replace_invalid(stop);
  }
}

std::string TextStream::push(std::string_view bytes) {
  if (stopped_) return {};
  held_ += characters_.push(bytes);
  if (cut_at_stop()) return std::exchange(held_, {});
  const size_t certain = undecided_from();
  std::string out = held_.substr(0, certain);
  held_.erase(0, certain);
  return out;
}

std::string TextStream::finish() {
  const std::string rest = characters_.finish();
  if (stopped_) return {};
  held_ += rest;
  cut_at_stop();
  return std::exchange(held_, {});
}

/// Cuts held_ before the first complete stop string; false where there is none.
bool TextStream::cut_at_stop() {
  size_t first_end = std::string::npos;
  size_t first_start = std::string::npos;
  for (const std::string& stop : stop_strings_) {
    const size_t start = held_.find(stop);
    if (start == std::string::npos) continue;
    const size_t end = start + stop.size();
    if (end > first_end || (end == first_end && start > first_start)) continue;
    first_end = end;
    first_start = start;
  }
  if (first_start == std::string::npos) return false;
  held_.resize(first_start);
  stopped_ = true;
  return true;
}

/// Where the longest end of held_ begins that could begin a stop string; held_.size() for none.
/// Stop strings are whole characters, so this is never inside one.
size_t TextStream::undecided_from() const {
  size_t longest = 0;
  for (const std::string& stop : stop_strings_) longest = std::max(longest, stop.size());
  const std::string_view held = held_;
  size_t start = held.size() - std::min(held.size(), longest);
  for (; start < held.size(); ++start) {
    const std::string_view end = held.substr(start);
    const auto begins_with_end = [end](std::string_view stop) { return stop.starts_with(end); };
    if (std::any_of(stop_strings_.begin(), stop_strings_.end(), begins_with_end)) break;
  }
  return start;
}

}  // namespace winnow
