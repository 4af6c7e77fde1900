// Progress on stderr for what takes longer than a second.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace winnow {

enum class ProgressMode { kAuto, kAlways, kNever };  // kAuto: where stderr is a terminal

/// Where stderr is a terminal: one line that is drawn at most ten times a second and only once a
/// second has passed (kAlways: at once), and erased when the object goes. Elsewhere kAlways prints
/// a line of its own for every tenth that is done, without control codes, and kAuto nothing. A
/// terminal without a name, or named "dumb", is no terminal here.
class Progress {
 public:
  /// `unit` is "B" for bytes (shown as MiB and GiB) or the name of what is counted ("tokens").
  Progress(ProgressMode mode, std::string label, std::string unit);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(uint64_t done, uint64_t total);

  /// Erases the line; the next update may draw it again. Before anything else is written to the
  /// terminal.
  void erase();

  /// Label, share, amount, rate and time left, as many of them as fit `width` columns:
  ///   "loading  25 %  512.0 MiB / 2.0 GiB  256.0 MiB/s  6 s left"
  /// A `total` of 0 is not known: there is no share and no time left then.
  static std::string line(const std::string& label, const std::string& unit, uint64_t done,
                          uint64_t total, double seconds, int width);

 private:
  enum class Style { kNone, kOverwrite, kLines };

  void overwrite(uint64_t done, uint64_t total);
  void print_tenths(uint64_t done, uint64_t total);
  double seconds() const;  // since the start

  Style style_ = Style::kNone;
  bool at_once_ = false;
  std::string label_;
  std::string unit_;
  std::chrono::steady_clock::time_point start_;
  double drawn_at_ = -1;  // seconds; under 0: nothing is drawn
  uint64_t tenths_printed_ = 0;
};

}  // namespace winnow
