#include "src/cli/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "src/base/format_bytes.h"

namespace winnow {
namespace {

constexpr double kSecondsBeforeFirst = 1;
constexpr double kSecondsBetween = 0.1;

/// Whether stderr is a terminal that knows "\r" and "erase to the end of the line".
bool stderr_is_terminal() {
  const char* term = std::getenv("TERM");
  if (term == nullptr || *term == '\0' || std::string_view(term) == "dumb") return false;
  return isatty(STDERR_FILENO) == 1;
}

/// Columns of the terminal now; 80 where it does not say.
int terminal_width() {
  winsize size = {};
  const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

std::string whole(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.0f", std::min(value, 1e15));
  return text.data();
}

std::string amount(double value, const std::string& unit) {
  return unit == "B" ? format_bytes(value) : whole(value) + " " + unit;
}

/// "42 s", "3 min 20 s", "2 h 5 min"
std::string duration(double seconds) {
  if (seconds < 60) return whole(seconds) + " s";
  const double minutes = std::floor(seconds / 60);
  if (minutes < 60) return whole(minutes) + " min " + whole(seconds - minutes * 60) + " s";
  return whole(std::floor(minutes / 60)) + " h " + whole(std::fmod(minutes, 60)) + " min";
}

}  // namespace

Progress::Progress(ProgressMode mode, std::string label, std::string unit)
    : at_once_(mode == ProgressMode::kAlways),
      label_(std::move(label)),
      unit_(std::move(unit)),
      start_(std::chrono::steady_clock::now()) {
  if (mode == ProgressMode::kNever) return;
  if (stderr_is_terminal()) {
    style_ = Style::kOverwrite;
  } else if (mode == ProgressMode::kAlways) {
    style_ = Style::kLines;
  }
}

Progress::~Progress() {
  erase();
}

void Progress::update(uint64_t done, uint64_t total) {
  switch (style_) {
    case Style::kNone: return;
    case Style::kOverwrite: return overwrite(done, total);
    case Style::kLines: return print_tenths(done, total);
  }
}

void Progress::erase() {
  if (style_ == Style::kOverwrite && drawn_at_ >= 0) std::fputs("\r\x1b[K", stderr);
  drawn_at_ = -1;
}

double Progress::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

// The last column stays free: a terminal may start a new line when it is written.
void Progress::overwrite(uint64_t done, uint64_t total) {
  const double now = seconds();
  const bool first = drawn_at_ < 0;
  if (first && !at_once_ && now < kSecondsBeforeFirst) return;
  if (!first && now - drawn_at_ < kSecondsBetween) return;
  drawn_at_ = now;
  const std::string text = line(label_, unit_, done, total, now, terminal_width() - 1);
  std::fputs(("\r" + text + "\x1b[K").c_str(), stderr);
}

void Progress::print_tenths(uint64_t done, uint64_t total) {
  if (total == 0) return;
  const double share = static_cast<double>(done) / static_cast<double>(total);
  const auto tenths = static_cast<uint64_t>(std::min(share, 1.0) * 10);
  if (tenths <= tenths_printed_) return;
  tenths_printed_ = tenths;
  constexpr int kWidth = 100;
  std::fputs((line(label_, unit_, done, total, seconds(), kWidth) + "\n").c_str(), stderr);
}

std::string Progress::line(const std::string& label, const std::string& unit, uint64_t done,
                           uint64_t total, double seconds, int width) {
  const auto n = static_cast<double>(total > 0 ? std::min(done, total) : done);
  const auto all = static_cast<double>(total);
  const double rate = seconds > 0 ? n / seconds : 0;  // units per second

  std::array<std::string, 4> parts;  // the rightmost is the first to go
  if (total > 0) parts[0] = whole(std::floor(100 * n / all)) + " %";
  parts[1] = total > 0 ? amount(n, unit) + " / " + amount(all, unit) : amount(n, unit);
  if (rate > 0) parts[2] = amount(rate, unit) + "/s";
  if (rate > 0 && total > 0 && n < all) parts[3] = duration((all - n) / rate) + " left";

  const auto columns = static_cast<size_t>(std::max(width, 0));
  std::string text = label.substr(0, columns);
  for (const std::string& part : parts) {
    if (part.empty()) continue;
    if (text.size() + 2 + part.size() > columns) break;
    text += "  " + part;
  }
  return text;
}

}  // namespace winnow
