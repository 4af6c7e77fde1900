#include "src/cli/prompt.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <span>

#include "src/base/error.h"
#include "src/base/file.h"
#include "src/base/utf8.h"
#include "src/cli/interrupt.h"

namespace winnow {
namespace {

constexpr uint64_t kMaxTextBytes = 64ULL << 20;

[[noreturn]] void fail_too_long(const std::string& name) {
  fail(ExitCode::kPrompt, name, ": a text of more than 64 MiB fits no model");
}

std::string read_stdin() {
  if (isatty(STDIN_FILENO) == 1) {
    fail(ExitCode::kUsage, "no text: give it with -p TEXT, -f FILE, or through stdin");
  }
  std::string text;
  std::array<char, 1 << 16> buffer{};
  while (true) {
    const ssize_t n = read(STDIN_FILENO, buffer.data(), buffer.size());
    check_interrupt();
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(ExitCode::kIo, "stdin: cannot read: ", std::strerror(errno));
    if (n == 0) return text;
    text.append(buffer.data(), static_cast<size_t>(n));
    if (text.size() > kMaxTextBytes) fail_too_long("stdin");
  }
}

std::string read_file(const std::string& path) {
  const File file = File::open(path);
  if (file.size() > kMaxTextBytes) fail_too_long(path);
  std::string text(file.size(), '\0');
  file.read_at(0, std::as_writable_bytes(std::span(text)));
  return text;
}

std::string name_of(const TextSource& source) {
  switch (source.kind) {
    case TextSource::Kind::kText: return "-p";
    case TextSource::Kind::kFile: return source.value;
    case TextSource::Kind::kStdin: break;
  }
  return "stdin";
}

std::string raw_text(const TextSource& source) {
  switch (source.kind) {
    case TextSource::Kind::kText: return source.value;
    case TextSource::Kind::kFile: return read_file(source.value);
    case TextSource::Kind::kStdin: break;
  }
  return read_stdin();
}

}  // namespace

std::string read_text(const TextSource& source, const TextRules& rules, const Console& console) {
  const std::string name = rules.name.empty() ? name_of(source) : rules.name;
  std::string text = raw_text(source);
  if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff")) {
    fail(ExitCode::kIo, name, ": the text is UTF-16; convert it to UTF-8 first (iconv -f UTF-16)");
  }
  if (rules.strip_mark && text.starts_with("\xef\xbb\xbf")) {
    text.erase(0, 3);
    console.note(name + ": a UTF-8 byte order mark was left out");
  }
  const size_t invalid = utf8_find_invalid(text);
  if (invalid == std::string::npos) return text;
  if (rules.strict_utf8) {
    fail(ExitCode::kIo, name, ": invalid UTF-8 at byte ", invalid, " of the text");
  }
  console.warn(name + ": invalid UTF-8, first at byte " + std::to_string(invalid) +
               ", was replaced by U+FFFD");
  return utf8_replace_invalid(text);
}

void prepend_bos(const Tokenizer& tokenizer, BosMode mode, std::vector<int32_t>& tokens) {
  const std::optional<int32_t> bos = tokenizer.bos();
  if (mode == BosMode::kYes && !bos) {
    fail(ExitCode::kUsage, "--bos yes: this tokenizer has no BOS");
  }
  const bool wanted = mode == BosMode::kYes || (mode == BosMode::kAuto && tokenizer.adds_bos());
  if (wanted && bos) tokens.insert(tokens.begin(), *bos);
}

std::vector<int32_t> encode_prompt(const Tokenizer& tokenizer, const std::string& text,
                                   BosMode mode) {
  std::vector<int32_t> tokens = tokenizer.encode(text);
  // An empty text has nothing else to start from.
  const bool demanded = mode == BosMode::kAuto && tokens.empty() && tokenizer.bos();
  prepend_bos(tokenizer, demanded ? BosMode::kYes : mode, tokens);
  if (tokens.empty()) fail(ExitCode::kUsage, "empty prompt, and no BOS to start from");
  return tokens;
}

}  // namespace winnow
