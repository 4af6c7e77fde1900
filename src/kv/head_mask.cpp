#include "src/kv/head_mask.h"

#include <algorithm>
#include <charconv>

#include "src/base/error.h"
#include "src/base/file.h"

namespace winnow {
namespace {

constexpr double kThreshold = 0.5;
constexpr int64_t kLongestNumber = 64;  // bytes, with what stands behind it

/// One line of a file, from 1, and where its complaints come from.
struct Line {
  std::string_view text;
  int64_t number;
  const std::string& name;

  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    fail(ExitCode::kModel, name, ": line ", number, parts...);
  }
};

double read_number(const Line& line, std::string_view word, int64_t column) {
  double value = -1;
  const char* const end = word.data() + word.size();
  const auto [stop, error] = std::from_chars(word.data(), end, value);
  const bool whole = error == std::errc() && stop == end;
  if (whole && value >= 0 && value <= 1) return value;  // a NaN is neither
  line.refuse(", column ", column, ": must be a number from 0 to 1, not ", quoted(word));
}

/// The numbers of a line join `numbers`.
void read_line(const Line& line, int64_t n_columns, std::vector<double>& numbers) {
  if (line.text.empty()) line.refuse(": is empty");
  const int64_t columns = 1 + std::ranges::count(line.text, '\t');
  std::string_view rest = line.text;
  for (int64_t column = 1; column <= columns; ++column) {
    const size_t tab = std::min(rest.find('\t'), rest.size());
    const double number = read_number(line, rest.substr(0, tab), column);
    if (column <= n_columns) numbers.push_back(number);
    rest.remove_prefix(std::min(tab + 1, rest.size()));
  }
  if (columns == n_columns) return;
  line.refuse(": number of columns is ", columns, ", and the model has ", n_columns, " KV heads");
}

/// Takes the next line, without its end, off `rest`.
std::string_view next_line(std::string_view& rest) {
  const size_t end = std::min(rest.find('\n'), rest.size());
  std::string_view line = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  return line;
}

}  // namespace

bool HeadMask::streams_in(int64_t l) const {
  for (int64_t h = 0; h < n_kv_heads; ++h) {
    if (streams(l, h)) return true;
  }
  return false;
}

int64_t HeadMask::n_streaming() const {
  return std::ranges::count(full, uint8_t{0});
}

std::vector<uint8_t> parse_head_mask(std::string_view text, const std::string& name,
                                     const ModelConfig& config, double threshold) {
  const size_t end = text.find_last_not_of("\r\n");  // empty lines at the end are none
  text = text.substr(0, end == std::string_view::npos ? 0 : end + 1);
  if (text.empty()) fail(ExitCode::kModel, name, ": is empty");
  std::vector<double> numbers;
  int64_t lines = 0;
  while (!text.empty()) {
    const Line line{.text = next_line(text), .number = ++lines, .name = name};
    if (lines <= config.n_layers) read_line(line, config.n_kv_heads, numbers);
  }
  if (lines != config.n_layers) {
    fail(ExitCode::kModel, name, ": number of lines is ", lines, ", and the model has ",
         config.n_layers, " layers");
  }
  std::vector<uint8_t> full;
  full.reserve(numbers.size());
  for (const double number : numbers) full.push_back(number >= threshold ? 1 : 0);
  return full;
}

void read_head_mask(HeadOptions& options, const ModelConfig& config) {
  if (options.file.empty()) return;
  const auto heads = static_cast<uint64_t>(config.n_layers * config.n_kv_heads);
  const std::string text = read_model_file(options.file, (heads + 1) * kLongestNumber);
  HeadMask mask;
  mask.n_kv_heads = config.n_kv_heads;
  mask.full =
      parse_head_mask(text, options.file.string(), config, options.threshold.value_or(kThreshold));
  mask.sink = options.sink.value_or(mask.sink);
  mask.window = options.window.value_or(mask.window);
  options.mask = std::make_shared<const HeadMask>(std::move(mask));
}

}  // namespace winnow
