// generate: where the prompt comes from, and what may be in it.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <chrono>
#include <string>

#include "tests/support/winnow_runs.h"

namespace winnow::test {
namespace {

Words run_in(const TinyDir& dir, const Words& more = {}) {
  return joined({"generate", "-m", dir.name(), "-n", "4", "--ignore-eos"}, more);
}

ProcessSpec with_input(Words arguments, std::string input) {
  return {.arguments = std::move(arguments), .input = std::move(input)};
}

OrderedJson json_from_input(const TinyDir& dir, const std::string& input, const Words& more = {}) {
  const Words arguments = joined(run_in(dir, {"--json", "-q"}), more);
  return json_of(succeed(with_input(arguments, input)).out);
}

std::string many(size_t n, char c) {
  return std::string(n, c);
}

double seconds_of(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

TEST_CASE("cli prompt: -p, -f, stdin and -f - give the same text") {
  const TinyDir tiny;
  const TempDir dir;
  const std::string prompt = "x a b\nb a x";
  write_file(dir / "prompt.txt", prompt);
  const OrderedJson expected = json_result(run_in(tiny, {"-p", prompt}));
  CHECK(expected["prompt_tokens"].get<int64_t>() > 5);
  const OrderedJson results[] = {json_result(run_in(tiny, {"-f", (dir / "prompt.txt").string()})),
                                 json_from_input(tiny, prompt),
                                 json_from_input(tiny, prompt, {"-f", "-"})};
  for (const OrderedJson& result : results) {
    CHECK(result["logits_hash"] == expected["logits_hash"]);
    CHECK(result["tokens"] == expected["tokens"]);
  }
}

TEST_CASE("cli prompt: stdin is not read where a prompt is given") {
  const TinyDir tiny;
  ProcessSpec open_input{.arguments = run_in(tiny, {"-p", "x"}), .keep_input_open = true};
  succeed(open_input);
  ProcessSpec closed{.arguments = run_in(tiny, {"-p", "x"})};
  closed.streams[0] = {Stream::kClosed};
  succeed(closed);
  fails(run_in(tiny, {"-p", "x", "-f", "y"}), 2, {"--prompt", "--file"});
}

TEST_CASE("cli prompt: an empty prompt starts from BOS") {
  const TinyDir tiny;
  for (const OrderedJson& json :
       {json_result(run_in(tiny, {"-p", ""})), json_from_input(tiny, "")}) {
    CHECK(json["prompt_tokens"] == 1);
    CHECK(json["tokens"].size() == 4);
  }
  fails(run_in(tiny, {"-p", "", "--bos", "no"}), 2, {"empty prompt"});
  CHECK(json_result(run_in(tiny, {"-p", "x", "--bos", "no"}))["prompt_tokens"] == 1);
  CHECK(json_result(run_in(tiny, {"-p", "x", "--bos", "yes"}))["prompt_tokens"] == 2);
}

TEST_CASE("cli prompt: invalid UTF-8 is replaced with one warning, or refused on demand") {
  const TinyDir tiny;
  const std::string inputs[] = {"x\xff x", "\x80", "x \xe2\x82", "\xed\xa0\x80 x", "\xc0\xaf\xff"};
  for (const std::string& input : inputs) {
    const Finished run = succeed(with_input(run_in(tiny), input));
    const Words lines = lines_of(run.err);
    CHECK(std::ranges::count_if(lines, [](const auto& line) {
            return line.find("UTF-8") != std::string::npos;
          }) == 1);
    fails(with_input(run_in(tiny, {"--strict-utf8"}), input), 6,
          {"stdin", "invalid UTF-8", "byte"});
  }
  CHECK(succeed(run_in(tiny, {"-p", "x\xff"})).err.find("warning: -p:") != std::string::npos);
  const std::string mark = "x\xef\xbf\xbd";
  CHECK(json_result(run_in(tiny, {"-p", "x\xff"}))["logits_hash"] ==
        json_result(run_in(tiny, {"-p", mark, "--strict-utf8"}))["logits_hash"]);
}

TEST_CASE("cli prompt: NUL bytes and carriage returns are part of the text") {
  const TinyDir tiny;
  const auto n_tokens = [&](const std::string& input) {
    return json_from_input(tiny, input)["prompt_tokens"].get<int64_t>();
  };
  CHECK(n_tokens(std::string("ab\0ba", 5)) == n_tokens("abba") + 1);
  CHECK(n_tokens("a\r\nb\r\n") == n_tokens("a\nb\n") + 2);
  CHECK(n_tokens("ab\n") == n_tokens("ab") + 1);
}

TEST_CASE("cli prompt: UTF-16 is refused with advice, a UTF-8 mark is left out with a note") {
  const TinyDir tiny;
  for (const auto& bytes : {std::string("\xff\xfe"
                                        "a\0b\0",
                                        6),
                            std::string("\xfe\xff\0a\0b", 6)}) {
    fails(with_input(run_in(tiny), bytes), 6, {"UTF-16", "iconv"});
  }
  const std::string marked = "\xef\xbb\xbfx a";
  CHECK(json_from_input(tiny, marked)["logits_hash"] ==
        json_result(run_in(tiny, {"-p", "x a"}))["logits_hash"]);
  CHECK(succeed(with_input(run_in(tiny, {"-v"}), marked)).err.find("byte order mark") !=
        std::string::npos);
}

TEST_CASE("cli prompt: a prompt file that is not there, or is no file, is named at once") {
  const TinyDir tiny;
  const TempDir dir;
  const std::string fifo = (dir / "fifo").string();
  REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  for (const std::string& path :
       {std::string("/nonexistent/prompt.txt"), dir.path().string(), fifo, std::string("/dev/zero"),
        std::string("/dev/urandom"), std::string("a\nb\x1b[31m")}) {
    CHECK(seconds_of([&] { fails(run_in(tiny, {"-f", path}), 6); }) < 5);
  }
  fails(run_in(tiny, {"-f", ""}), 2, {"--file"});
  fails(run_in(tiny, {"-f", "/nonexistent/prompt.txt"}), 6, {"/nonexistent/prompt.txt"});
}

TEST_CASE("cli prompt: long prompts are refused with their count, in seconds") {
  const std::string unit = "It was a dark night and nobody was there at all, said the man.\n";
  std::string prose;
  while (prose.size() < 10000000) prose += unit;
  std::string marks = "a";
  for (int i = 0; i < 500000; ++i) marks += "\xcc\x81";  // combining accents
  const std::string texts[] = {prose, many(10000000, 'a'), many(10000000, ' '), many(1000000, '\n'),
                               marks};
  for (const std::string& text : texts) {
    const auto body = [&] {
      fails(with_input({"generate", "-m", kDemo}, text), 7, {"does not fit", "tokens", "32768"});
    };
    CHECK(seconds_of(body) < 20);
  }
}

TEST_CASE("cli prompt: an endless stdin stops at the limit") {
  const TinyDir tiny;
  for (const char* source : {"/dev/urandom", "/dev/zero"}) {
    ProcessSpec spec{.arguments = run_in(tiny)};
    spec.streams[0] = {Stream::kFile, source};
    fails(spec, 7, {"stdin", "64 MiB"});
  }
}

TEST_CASE("cli prompt: a closed stdin and one that is a directory are errors, not loops") {
  const TinyDir tiny;
  ProcessSpec closed{.arguments = run_in(tiny)};
  closed.streams[0] = {Stream::kClosed};
  fails(closed, 6, {"stdin"});
  ProcessSpec directory{.arguments = run_in(tiny)};
  directory.streams[0] = {Stream::kFile, "/"};
  fails(directory, 6, {"stdin"});
}

TEST_CASE("cli prompt: without a prompt a terminal is not waited for") {
  const TinyDir tiny;
  ProcessSpec spec{.arguments = run_in(tiny)};
  spec.streams[0] = {Stream::kTerminal};
  fails(spec, 2, {"-p TEXT", "-f FILE", "stdin"});
}

TEST_CASE("cli prompt: a long argument and one that looks like an option are text") {
  const TinyDir tiny;
  fails(run_in(tiny, {"-p", std::string((128 << 10) - 100, 'a')}), 7, {"1309", "128"});
  for (const char* text : {"--help", "-", "--", "-n"}) {
    CHECK(json_result(run_in(tiny, {"-p", text}))["tokens"].size() == 4);
  }
}

}  // namespace winnow::test
