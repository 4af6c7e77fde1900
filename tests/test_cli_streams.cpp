// Where the streams lead: full disks, closed streams, pipes that nobody reads, and terminals.
#include <doctest/doctest.h>

#include <chrono>
#include <string>

#include "tests/support/winnow_runs.h"

namespace winnow::test {
namespace {

const Words kLong = {"generate", "-m", kDemo, "-p", "x", "-n", "-1", "--ignore-eos"};
const Words kShort = {"generate", "-m", kDemo, "-p", "It was a dark", "-n", "8"};

ProcessSpec with_stream(Words arguments, size_t stream, StreamSpec to) {
  ProcessSpec spec{.arguments = std::move(arguments)};
  spec.streams[stream] = std::move(to);
  return spec;
}

/// A run whose stdout and stderr are one terminal.
ProcessSpec on_terminal(Words arguments, const char* term, unsigned short columns = 80) {
  ProcessSpec spec{.arguments = std::move(arguments),
                   .environment = {{"TERM", std::nullopt}, {"NO_COLOR", std::nullopt}},
                   .columns = columns};
  if (term != nullptr) spec.environment["TERM"] = term;
  spec.streams = {StreamSpec{}, {Stream::kTerminal}, {Stream::kTerminal}};
  return spec;
}

/// The lines that are left to see of what was written to a terminal, where "\r" goes back to the
/// start of the line and "\x1b[K" erases the rest of it.
Words screen(const std::string& written) {
  Words lines(1);
  size_t column = 0;
  for (size_t i = 0; i < written.size(); ++i) {
    std::string& line = lines.back();
    if (written[i] == '\n') {
      lines.emplace_back();
      column = 0;
    } else if (written[i] == '\r') {
      column = 0;
    } else if (written.compare(i, 3, "\x1b[K") == 0) {
      line.resize(column);
      i += 2;
    } else {
      line.resize(std::max(line.size(), column + 1), ' ');
      line[column++] = written[i];
    }
  }
  return lines;
}

bool holds_control_codes(const std::string& text) {
  return text.find_first_of("\x1b\r\b\a") != std::string::npos;
}

/// A prompt whose prefill takes long enough for a bar to be drawn more than once.
std::string long_prompt() {
  std::string text;
  for (int i = 0; i < 500; ++i) text += "the night ";
  return text;
}

}  // namespace

TEST_CASE("cli streams: a full disk ends every command with 6, and a generation at once") {
  const StreamSpec full{Stream::kFile, "/dev/full"};
  const TempDir dir;
  const std::string why = "No space left on device";
  for (const Words& more : {Words{}, Words{"--jsonl"}, Words{"--echo"}}) {
    fails(with_stream(joined(kLong, more), 1, full), 6, {"stdout", why});
    fails(joined(kLong, joined(more, {"-o", "/dev/full"})), 6, {"/dev/full", why});
  }
  const Words others[] = {joined(kShort, {"--json"}),
                          {"tokenize", "-m", kDemo, "-p", "x"},
                          {"inspect", "-m", kDemo},
                          {"check", "-m", kDemo},
                          {"bench", "-m", kDemo, "-p", "4", "-n", "0", "-r", "1"}};
  for (const Words& other : others) fails(with_stream(other, 1, full), 6, {"stdout", why});
  for (const Words& help : {Words{"--help"}, Words{"--version"}, Words{"generate", "--help"}}) {
    fails(with_stream(help, 1, full), 6);
  }
}

TEST_CASE("cli streams: a closed stdout is an error, and no file takes its place") {
  const StreamSpec closed{Stream::kClosed};
  fails(with_stream(kLong, 1, closed), 6, {"stdout"});
  fails(with_stream(joined(kShort, {"--json"}), 1, closed), 6, {"stdout"});
  fails(with_stream({"--help"}, 1, closed), 6);
  const TempDir dir;
  const std::string file = (dir / "out.txt").string();
  const Finished run = test::run(with_stream(joined(kShort, {"-o", file}), 1, closed));
  CHECK(run.code == 0);
  CHECK(read_file(file) == succeed(kShort).out);
}

TEST_CASE("cli streams: a closed or full stderr harms nothing") {
  const std::string text = succeed(kShort).out;
  for (const StreamSpec& stderr_to :
       {StreamSpec{Stream::kClosed}, StreamSpec{Stream::kFile, "/dev/full"}}) {
    for (const Words& more : {Words{}, Words{"-vv", "--progress", "always"}}) {
      CHECK(succeed(with_stream(joined(kShort, more), 2, stderr_to)).out == text);
    }
    CHECK(run(with_stream({"generate"}, 2, stderr_to)).code == 2);
  }
  ProcessSpec all_closed{.arguments = kShort};
  all_closed.streams.fill({Stream::kClosed});
  CHECK(run(all_closed).code == 6);
}

TEST_CASE("cli streams: a pipe that nobody reads ends the run") {
  const Finished killed = run(with_stream(kLong, 1, {Stream::kBroken}));
  CHECK(killed.code == kKilled + SIGPIPE);
  CHECK(killed.err.find("winnow:") == std::string::npos);
}

TEST_CASE(
    "cli streams: an output file that cannot be written is named before the model is loaded") {
  const TempDir dir;
  for (const std::string& path : {std::string("/nonexistent/out.txt"), dir.path().string(),
                                  std::string("/proc/version"), std::string("a\nb/c")}) {
    fails(joined(kLong, {"-o", path}), 6, {"cannot write"});
    fails({"tokenize", "-m", kDemo, "-p", "x", "-o", path}, 6, {"cannot write"});
    fails({"logits", "-m", kDemo, "-p", "x", "-o", path}, 6, {"cannot write"});
  }
  fails(joined(kLong, {"-o", "/nonexistent/out.txt"}), 6, {"/nonexistent/out.txt"});
  fails(joined(kLong, {"-o", ""}), 2, {"--output"});
}

TEST_CASE("cli streams: pipes and files get no control codes, in any environment") {
  const std::map<std::string, std::optional<std::string>> environments[] = {
      {{"TERM", "xterm-256color"}}, {{"TERM", std::nullopt}}, {{"TERM", "dumb"}}};
  for (const auto& environment : environments) {
    for (const Words& more : {Words{}, Words{"--progress", "always", "-vv"}}) {
      const Finished done =
          succeed(ProcessSpec{.arguments = joined({"generate", "-m", kDemo, "-n", "2"}, more),
                              .input = "the night\xff",
                              .environment = environment});
      CHECK_FALSE(holds_control_codes(done.out));
      CHECK_FALSE(holds_control_codes(done.err));
      CHECK(done.err.find("warning") != std::string::npos);
    }
  }
}

TEST_CASE("cli streams: progress goes to terminals, and elsewhere only where it is asked for") {
  const auto progress = [](const Words& more) {
    const Finished done = succeed(ProcessSpec{
        .arguments = joined({"generate", "-m", kDemo, "-n", "1"}, more), .input = long_prompt()});
    return done.err.find("prefill  ") != std::string::npos &&
           done.err.find("tokens/s\n") != std::string::npos &&
           done.err.find(" %") != std::string::npos;
  };
  CHECK_FALSE(progress({}));
  CHECK_FALSE(progress({"--progress", "never"}));
  CHECK(progress({"--progress", "always"}));
}

TEST_CASE("cli streams: on a terminal the progress line makes room for the text") {
  ProcessSpec spec =
      on_terminal({"generate", "-m", kDemo, "-n", "3", "--progress", "always", "-v"}, "xterm");
  spec.input = long_prompt();
  const Finished done = succeed(spec);
  CHECK(done.terminal.find("prefill  ") != std::string::npos);
  const Words lines = screen(done.terminal);
  const std::string text =
      succeed(ProcessSpec{.arguments = {"generate", "-m", kDemo, "-n", "3", "-q"},
                          .input = long_prompt()})
          .out;
  CHECK(std::ranges::count(lines, text) == 1);
  for (const std::string& line : lines) {
    CAPTURE(line);
    CHECK(line.find(" left") == std::string::npos);  // nothing of the bar is left
    CHECK(line.find(" %") == std::string::npos);
  }
  CHECK(lines.back().empty());

  const Words checked = screen(
      succeed(on_terminal({"check", "-m", kDemo, "--progress", "always"}, "xterm")).terminal);
  REQUIRE(checked.size() == 2);
  CHECK(checked[0].starts_with("ok: "));
}

TEST_CASE("cli streams: terminals that know no codes get none, and one column is enough") {
  for (const char* term : {static_cast<const char*>(nullptr), "", "dumb"}) {
    ProcessSpec spec = on_terminal(joined({"generate", "-m", kDemo, "-n", "2"}, {"-v"}), term);
    spec.input = "the night \xff";
    spec.arguments.insert(spec.arguments.end(), {"--progress", "always"});
    CHECK_FALSE(holds_control_codes(succeed(spec).terminal));
  }
  for (const int columns : {0, 1, 2, 7}) {
    ProcessSpec spec = on_terminal({"generate", "-m", kDemo, "-n", "2"}, "xterm",
                                   static_cast<unsigned short>(columns));
    spec.input = long_prompt();
    spec.arguments.insert(spec.arguments.end(), {"--progress", "always"});
    succeed(spec);
  }
}

TEST_CASE("cli streams: colors are for terminals that take them, and --color decides") {
  const auto colored = [](ProcessSpec spec) {
    const Finished done = succeed(std::move(spec));
    const std::string shown = done.terminal + done.err;
    CHECK(shown.find("warning: ") != std::string::npos);
    return shown.find("\x1b[3") != std::string::npos;
  };
  const Words run = {"generate", "-m", kDemo, "-p", "\xff", "-n", "1"};
  CHECK(colored(on_terminal(run, "xterm")));
  CHECK_FALSE(colored(on_terminal(joined(run, {"--color", "never"}), "xterm")));
  CHECK_FALSE(colored(on_terminal(run, "dumb")));
  ProcessSpec no_color = on_terminal(run, "xterm");
  no_color.environment["NO_COLOR"] = "1";
  CHECK_FALSE(colored(no_color));
  no_color.arguments = joined(run, {"--color", "always"});
  CHECK(colored(no_color));
  no_color.environment["NO_COLOR"] = "";
  no_color.arguments = run;
  CHECK(colored(no_color));
  CHECK_FALSE(colored(ProcessSpec{.arguments = run}));
  CHECK(colored(ProcessSpec{.arguments = joined(run, {"--color", "always"})}));
}

TEST_CASE("cli streams: control bytes of a text are shown on a terminal and kept in a pipe") {
  const Words run = {"generate", "-m", kDemo, "-p", "a\x1b[2Jb\x07", "-n", "0", "--echo", "-q"};
  CHECK(succeed(run).out == "a\x1b[2Jb\x07");
  CHECK(succeed(on_terminal(run, "xterm")).terminal == "a\\x1b[2Jb\\x07\n");
}

TEST_CASE("cli streams: text on a terminal ends its line, text in a pipe ends as it is") {
  const std::string text = succeed(joined(kShort, {"-q"})).out;
  REQUIRE_FALSE(text.ends_with('\n'));
  CHECK(succeed(on_terminal(joined(kShort, {"-q"}), "xterm")).terminal == text + "\n");
  const Words ended = {"generate", "-m", kDemo, "-p", "a\n", "-n", "0", "--echo", "-q"};
  CHECK(succeed(on_terminal(ended, "xterm")).terminal == "a\n");
}

}  // namespace winnow::test
