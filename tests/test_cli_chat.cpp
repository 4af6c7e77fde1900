// winnow chat through pipes: turns as lines, commands, and how it ends.
#include <doctest/doctest.h>

#include <string>

#include "tests/support/spm_model.h"
#include "tests/support/winnow_runs.h"

namespace winnow::test {
namespace {

const Words kChat = {"chat", "-m", kDemo, "--chat-template", "none", "-n", "12"};

ProcessSpec chat(const std::string& input, const Words& more = {}) {
  return {.arguments = joined(kChat, more), .input = input};
}

std::string generated(const std::string& prompt) {
  return succeed({"generate", "-m", kDemo, "-n", "12", "-q", "-p", prompt}).out;
}

/// A small model whose vocabulary has ChatML's control tokens, and the template that asks for it.
class ChatDir : public TinyDir {
 public:
  ChatDir() : TinyDir({.max_positions = 400}) {
    SpmFile file = small_spm(pieces());
    file.pieces.push_back({"<|im_start|>", 0, PieceType::kControl});
    file.pieces.push_back({"<|im_end|>", 0, PieceType::kControl});
    write_file(*this / "tokenizer.model", serialize_spm_file(file));
    write_file(*this / "tokenizer_config.json",
               R"({"chat_template": "{{ '<|im_start|>' + role + text + '<|im_end|>' }}"})");
  }
};

}  // namespace

TEST_CASE("cli chat: lines are turns, replies are lines of stdout, and nothing else is") {
  const Finished one = succeed(chat("It was a dark night\n"));
  CHECK(one.out == generated("It was a dark night") + "\n");
  const Finished quiet = succeed(chat("It was a dark night", {"-q"}));
  CHECK(quiet.out == one.out);
  CHECK(quiet.err.empty());
  const Finished two = succeed(chat("It was a dark night\n\nand then\r\n", {"-q"}));
  CHECK(two.out.starts_with(one.out));
  CHECK(two.out.size() > one.out.size());
  CHECK(two.out == succeed(chat("It was a dark night\nand then\n", {"-q"})).out);
  CHECK(two.out != one.out + succeed(chat("and then\n", {"-q"})).out);
}

TEST_CASE("cli chat: the input's end ends it, at once where there is none") {
  CHECK(succeed(chat("")).out.empty());
  CHECK(succeed(chat("\n\n")).out.empty());
  CHECK(succeed(chat("/exit\nIt was\n")).out.empty());
  ProcessSpec closed = chat("");
  closed.streams[0] = {Stream::kClosed};
  check_failure(test::run(closed), 6, {"stdin"});
}

TEST_CASE("cli chat: the frame is the one that the model's template asks for, or it is told") {
  fails({"chat", "-m", kDemo}, 3, {"no chat template", "--chat-template"});
  fails(joined(kChat, {"--system", "x"}), 2, {"--system", "none"});
  fails({"chat", "-m", kDemo, "--chat-template", "chatml"}, 3, {"chatml", "<|im_start|>"});
  fails({"chat", "-m", kDemo, "--chat-template", "vicuna"}, 2, {"--chat-template", "llama2"});
  const ChatDir dir;
  const Words run = {"chat", "-m", dir.name(), "-n", "5", "--system", "x"};
  const Finished known = succeed(ProcessSpec{.arguments = run, .input = "x\n"});
  CHECK(known.err.find("frame chatml, recognised in ") != std::string::npos);
  CHECK_FALSE(known.out.empty());
  write_file(dir / "chat_template.jinja", "{{ messages }}");
  fails({"chat", "-m", dir.name()}, 3, {"chat_template.jinja", "not recognised"});
}

TEST_CASE("cli chat: a backslash and quotes make one turn of many lines") {
  const std::string text = generated("one\ntwo\nthree") + "\n";
  CHECK(succeed(chat("one\\\ntwo\\\nthree\n", {"-q"})).out == text);
  CHECK(succeed(chat("\"\"\"one\ntwo\nthree\"\"\"\n", {"-q"})).out == text);
  CHECK(succeed(chat("\"\"\"one\ntwo\nthree", {"-q"})).out == text);
  CHECK(succeed(chat("\"\"\"/help\"\"\"\n", {"-q"})).out == generated("/help") + "\n");
}

TEST_CASE("cli chat: /reset forgets, /stats counts, /save writes, /help helps") {
  const std::string once = succeed(chat("It was\n", {"-q"})).out;
  CHECK(succeed(chat("It was\n/reset\nIt was\n", {"-q"})).out == once + once);

  const Finished stats = succeed(chat("/stats\nIt was\n/stats\n", {"-q"}));
  CHECK(stats.out == once);
  CHECK(stats.err.find("turns   0, 0 of ") != std::string::npos);
  CHECK(stats.err.find("turns   1, ") != std::string::npos);
  CHECK(stats.err.find("rows kept, policy full") != std::string::npos);
  CHECK(stats.err.find("ended by length") != std::string::npos);

  CHECK(succeed(chat("/help\n", {"-q"})).err.find("/save FILE") != std::string::npos);

  const TempDir dir;
  const std::string file = (dir / "talk.json").string();
  succeed(chat("It was\n/save " + file + "\n/save " + (dir / "talk.txt").string() + "\n"));
  const OrderedJson json = json_of(read_file(file));
  REQUIRE(json.size() == 2);
  CHECK(json[0].dump() == R"({"role":"user","content":"It was"})");
  CHECK(json[1]["role"] == "assistant");
  CHECK(json[1]["content"].get<std::string>() + "\n" == once);
  CHECK(read_file(dir / "talk.txt").starts_with("## user\n\nIt was\n\n## assistant\n\n"));
}

TEST_CASE("cli chat: where nobody can try again, a wrong command ends it") {
  CHECK(test::run(chat("/nonsense\nIt was\n")).code == 2);
  CHECK(test::run(chat("/save\n")).code == 2);
  CHECK(test::run(chat("/save /nonexistent/file\n")).code == 6);
  fails(joined(kChat, {"-n", "0"}), 2);
}

TEST_CASE("cli chat: a context that is full is told, and ends it with 7") {
  const ChatDir dir;
  const Words run = {"chat", "-m", dir.name(), "-n", "8", "-c", "60", "-q"};
  std::string turns;
  for (int i = 0; i < 9; ++i) turns += "x x x\n";
  const Finished done = test::run(ProcessSpec{.arguments = run, .input = turns});
  CHECK(done.code == 7);
  CHECK(lines_of(done.err).size() == 1);
  CHECK(done.err.find("the context is full") != std::string::npos);
  CHECK(done.err.find("/reset") != std::string::npos);
}

TEST_CASE("cli chat: a budget holds over the turns, and a cut reply is told") {
  const Words kv = {"--kv-policy", "sage", "--kv-budget", "16"};
  const std::string turn =
      "It was a dark night, and the captain said to the men that they should go";
  const Finished done = succeed(chat(turn + "\n" + turn + "\n" + turn + "\n/stats\n", kv));
  CHECK(done.err.find("the reply was cut after 12 tokens (-n)") != std::string::npos);
  const size_t at = done.err.find("rows kept, policy sage");
  REQUIRE(at != std::string::npos);
  const size_t line = done.err.rfind('\n', at) + 1;
  int64_t kept = 0;
  REQUIRE(std::sscanf(done.err.c_str() + done.err.find(": ", line), ": %ld of", &kept) == 1);
  CHECK(kept <= 16 * 16);  // 8 layers of 2 KV heads
  const Finished append =
      succeed(chat(turn + "\n" + turn + "\n", joined(kv, {"--no-kv-reselect"})));
  CHECK(append.out != succeed(chat(turn + "\n" + turn + "\n", kv)).out);
}

TEST_CASE("cli chat: invalid UTF-8 is replaced, with a warning") {
  const Finished done = succeed(chat("caf\xe9\n"));
  CHECK(done.out == generated("caf\xef\xbf\xbd") + "\n");
  CHECK(done.err.find("U+FFFD") != std::string::npos);
}

TEST_CASE("cli chat: a signal ends a chat through pipes where it is") {
  for (const auto& [signal, code] : {std::pair{SIGINT, 130}, std::pair{SIGTERM, 143}}) {
    ProcessSpec endless = chat("It was\nIt was\n");
    endless.arguments = {"chat", "-m", kDemo, "--chat-template", "none", "-n", "-1"};
    endless.keep_input_open = true;
    Process writing(endless);
    REQUIRE(writing.wait_until([&] { return writing.so_far().out.size() > 30; }));
    writing.send(signal);
    CHECK(writing.wait().code == code);

    ProcessSpec waits = chat("It was\n");
    waits.keep_input_open = true;
    Process waiting(waits);
    REQUIRE(waiting.wait_for_output("\n"));
    waiting.send(signal);
    CHECK(waiting.wait().code == code);
  }
}

}  // namespace winnow::test
