// winnow chat as a person meets it: on a terminal, with editing, history and Ctrl-C.
#include <doctest/doctest.h>

#include <string>

#include "tests/support/winnow_runs.h"

namespace winnow::test {
namespace {

const std::string kCtrlC = "\x03";
const std::string kCtrlD = "\x04";
const std::string kUp = "\x1b[A";

class Talk {
 public:
  explicit Talk(const Words& more = {}, const char* term = "xterm") : process_(spec(more, term)) {
    REQUIRE(process_.wait_for_terminal("> "));
  }

  /// Types `keys` and waits for `text` to appear after them.
  void type(const std::string& keys, const std::string& text) {
    mark();
    process_.type(keys);
    const bool came = process_.wait_for_terminal(text, mark_);
    INFO("typed: ", keys, ", and it shows: ", shown());
    REQUIRE(came);
  }

  /// The same for a line that is answered at once; then waits for the next prompt.
  void type_line(const std::string& line, const std::string& text) {
    type(line + "\n", text);
    wait_for_prompt();
  }

  /// Waits for the next prompt after what was typed last.
  void wait_for_prompt() { REQUIRE(process_.wait_for_terminal("\n> ", mark_)); }
  void wait_for_more(size_t bytes) {
    REQUIRE(process_.wait_until([&] { return shown().size() > mark_ + bytes; }));
  }
  void mark() { mark_ = shown().size(); }

  const std::string& shown() const { return process_.so_far().terminal; }
  std::string since_mark() const { return shown().substr(mark_); }
  Process& process() { return process_; }

  Finished end_with(const std::string& keys) {
    process_.type(keys);
    Finished end = process_.wait(20);
    INFO("it shows: ", end.terminal);
    CHECK(end.code < kKilled);
    return end;
  }

 private:
  static ProcessSpec spec(const Words& more, const char* term) {
    ProcessSpec spec{.arguments = joined({"chat", "-m", kDemo, "--chat-template", "none"}, more)};
    for (StreamSpec& stream : spec.streams) stream = {Stream::kTerminal};
    spec.environment["TERM"] = term;
    spec.environment["HOME"] = "/nonexistent";  // no .editrc
    spec.environment["LC_ALL"] = "C";
    return spec;
  }

  Process process_;
  size_t mark_ = 0;
};

}  // namespace

TEST_CASE("cli chat terminal: a turn, its reply, and Ctrl-D") {
  for (const char* const term : {"xterm", "dumb", ""}) {
    CAPTURE(term);
    Talk talk({"-n", "8", "-q"}, term);
    const std::string reply =
        succeed({"generate", "-m", kDemo, "-n", "8", "-q", "-p", "It was"}).out;
    talk.type_line("It was", reply.substr(0, reply.find('\n')));
    CHECK(talk.end_with(kCtrlD).code == 0);
  }
}

TEST_CASE("cli chat terminal: Ctrl-C stops a reply and keeps the chat") {
  Talk talk({"-n", "-1", "-q"});
  talk.type("It was\n", "\n");
  talk.wait_for_more(60);
  talk.process().type(kCtrlC);
  talk.wait_for_prompt();
  talk.type_line("/stats", "turns   1, ");
  CHECK(talk.shown().find("ended by interrupt") != std::string::npos);
  talk.type("and then\n", "\n");
  talk.wait_for_more(60);
  talk.process().type(kCtrlC);
  talk.wait_for_prompt();
  talk.type_line("/stats", "turns   2, ");
  CHECK(talk.end_with("/exit\n").code == 0);
}

TEST_CASE("cli chat terminal: Ctrl-C takes the line back, and twice in a row ends the chat") {
  for (const char* const term : {"xterm", "dumb"}) {
    CAPTURE(term);
    Talk talk({"-n", "4"}, term);
    talk.type("never sa", "never sa");
    talk.type(kCtrlC, "ends the chat\r\n> ");
    talk.type_line("/stats", "turns   0, ");
    talk.type(kCtrlC, "\n> ");
    CHECK(talk.end_with(kCtrlC).code == 130);
  }
}

TEST_CASE("cli chat terminal: lines are edited and come back from the history") {
  const TempDir dir;
  Talk talk({"-n", "2", "-q"});
  talk.type(
      "It wos\x7f\x7f"
      "as\n",
      "\n> ");
  const std::string file = (dir / "a.json").string();
  talk.type("/reset\n", "\n> ");
  talk.type(kUp + kUp + " \xc3\xa9\xe9\xa2\xa8x\x7f\n", "\n> ");
  talk.type("/save " + file + "\n", "\n> ");
  CHECK(talk.end_with(kCtrlD).code == 0);
  CHECK(json_of(read_file(file))[0]["content"] == "It was \xc3\xa9\xe9\xa2\xa8");
}

TEST_CASE("cli chat terminal: what goes wrong is told, and the chat goes on") {
  Talk talk({"-n", "2", "-c", "20"});
  talk.type_line("/nonsense", "there is no command '/nonsense'");
  talk.type_line("/save /nonexistent/x", "cannot write");
  std::string words;
  for (int i = 0; i < 40; ++i) words += "the ";
  talk.type_line(words, "the context is full");
  talk.type("It was\n", "\n> ");
  talk.type_line("/stats", "turns   1, ");
  CHECK(talk.end_with(kCtrlD).code == 0);
}

TEST_CASE("cli chat terminal: SIGTERM and a terminal that is gone end it") {
  Talk talk({"-n", "2"});
  talk.process().send(SIGTERM);
  CHECK(talk.process().wait(20).code == 143);
}

}  // namespace winnow::test
