// The line as a whole: its words and their order, what is unknown, missing or given twice, and the
// help.
#include <doctest/doctest.h>

#include <algorithm>
#include <sstream>
#include <string>

#include "src/bench/commit.h"
#include "src/cli/version.h"
#include "tests/support/command_line.h"

namespace winnow::test {
namespace {

TEST_CASE("command line: options may stand before and after the command") {
  const GenerateOptions after = parse_as<GenerateOptions>({"generate", "-m", "d", "-p", "hi"});
  const Line lines[] = {{"-m", "d", "generate", "-p", "hi"},
                        {"-m", "d", "-p", "hi", "generate"},
                        {"--prompt=hi", "-md", "generate"},
                        {"-p", "hi", "generate", "--model", "d"}};
  for (const Line& line : lines) {
    const GenerateOptions options = parse_as<GenerateOptions>(line);
    CHECK(options.model.dir == after.model.dir);
    CHECK(options.prompt.value == after.prompt.value);
  }
}

TEST_CASE("command line: a command's name is a value where an option wants one") {
  const auto options = parse_as<GenerateOptions>({"-m", "check", "-p", "bench", "generate"});
  CHECK(options.model.dir == "check");
  CHECK(options.prompt.value == "bench");
  CHECK(parse_as<GenerateOptions>({"-qm", "check", "generate"}).model.verbosity == -1);
  CHECK(parse_as<CheckOptions>({"-mgenerate", "check"}).model.dir == "generate");
  CHECK(parse_as<CheckOptions>({"--model=generate", "check"}).model.dir == "generate");
  refuse({"-p", "generate"}, {"no command"});
  refuse({"--temp", "generate", "-m", "check"}, {"no command"});
}

TEST_CASE("command line: a value may look like anything") {
  for (const char* text :
       {"", "-", "--", "-x", "--help", "++", "[a,b]", "{}", "%%", "a\"b'", "a=b"}) {
    CAPTURE(text);
    CHECK(generate({"-p", text}).prompt.value == text);
    CHECK(generate({"--prompt=" + std::string(text)}).prompt.value == text);
    CHECK(generate({"-p", text, "--echo"}).echo);
  }
  CHECK(generate({"--stop", "[a,b]", "--stop", "{}"}).stop_strings == Line{"[a,b]", "{}"});
  CHECK(generate({"--stop", "-x"}).stop_strings == Line{"-x"});
}

TEST_CASE("command line: a megabyte of prompt, and a prompt that is not UTF-8") {
  const std::string megabyte(1 << 20, 'x');
  CHECK(generate({"-p", megabyte}).prompt.value == megabyte);
  CHECK(generate({"-p", "\xff\xc0\x80"}).prompt.value == "\xff\xc0\x80");
  refuse_generate({"--" + megabyte}, {"has no option"});
  refuse_generate({megabyte}, {"takes only options"});
  refuse({megabyte}, {"unknown command"});
  refuse_generate({"--\xff\n\x1b"}, {"\\xff"});
  refuse_generate({"--stop", "\xff"}, {"--stop", "UTF-8"});
}

TEST_CASE("command line: an unknown option is named, and the nearest known one with it") {
  refuse_generate({"--tmep", "0"}, {"'winnow generate'", "'--tmep'", "did you mean '--temp'?"});
  refuse_generate({"--tmep=0"}, {"'--tmep'", "did you mean '--temp'?"});
  refuse_generate({"-temp", "0"}, {"'-temp'", "did you mean '--temp'?"});
  refuse_generate({"--max-tokns", "0"}, {"did you mean '--max-tokens'?"});
  refuse_generate({"--seeed", "x", "--temp", "nan"}, {"did you mean '--seed'?"});
  refuse_generate({"--kv-buget", "1"}, {"did you mean '--kv-budget'?"});
  refuse_generate({"--frobnicate"}, {"'--frobnicate'", "see 'winnow generate --help'"});
  refuse_generate({"-x"}, {"'-x'", "see 'winnow generate --help'"});
  refuse_generate({"-qx"}, {"'-qx'"});
  refuse_generate({"-5"}, {"'-5'"});
  refuse_generate({"--=x"}, {"'--'"});
  refuse({"--modle", "d", "generate"}, {"'--modle'", "did you mean '--model'?"});
  refuse({"--modle", "d"}, {"'--modle'", "did you mean '--model'?"});
}

TEST_CASE("command line: an option of another command is unknown here") {
  refuse({"check", "-m", "d", "--temp", "1"}, {"'winnow check'", "'--temp'"});
  refuse({"tokenize", "-m", "d", "--threads", "1"}, {"'winnow tokenize'", "'--threads'"});
  refuse({"inspect", "-m", "d", "-p", "generate"}, {"'winnow inspect'", "'-p'"});
  refuse({"inspect", "-m", "d", "--jsonl"}, {"'--jsonl'", "did you mean '--json'?"});
}

TEST_CASE("command line: an unknown command is named, and the nearest known one with it") {
  refuse({"genrate", "-m", "d"}, {"unknown command 'genrate'", "did you mean 'generate'?"});
  refuse({"-m", "d", "tokenise"}, {"unknown command 'tokenise'", "did you mean 'tokenize'?"});
  refuse({"xyzzy"}, {"unknown command 'xyzzy'", "see 'winnow --help'"});
  refuse({"Generate"}, {"unknown command 'Generate'", "did you mean 'generate'?"});
  refuse({""}, {"unknown command ''"});
  refuse({"serve", "-m", "d"}, {"unknown command 'serve'"});
}

TEST_CASE("command line: no command at all") {
  refuse({}, {"no command given", "winnow --help"});
  refuse({"-m", "d"}, {"no command given"});
  refuse({"--"}, {"no command given"});
  const char* const nothing[] = {nullptr};
  expect_error(ExitCode::kUsage, {"no command"}, [&] { parse_command_line(0, nothing); });
}

TEST_CASE("command line: words that are no options are refused") {
  refuse_generate({"hello"}, {"takes only options", "'hello'"});
  refuse_generate({"-"}, {"'-'"});
  refuse_generate({"check"}, {"'check'"});
  refuse_generate({"generate"}, {"'generate'"});
  refuse_generate({"++"}, {"'++'"});
  refuse({"hello", "check", "-m", "d"}, {"'winnow check'", "'hello'"});
}

TEST_CASE("command line: -- ends the options") {
  CHECK(generate({"--"}).max_tokens == 256);
  refuse_generate({"--", "--echo"}, {"'--echo'"});
  refuse_generate({"--", "--help"}, {"'--help'"});
  refuse_generate({"--", "--"}, {"'--'"});
  refuse({"--", "check", "-m", "d"}, {"unknown command 'check'"});
}

TEST_CASE("command line: a missing value is named") {
  refuse({"check", "-m"}, {"-m", "needs a value"});
  refuse_generate({"--temp"}, {"--temp", "needs a value"});
  refuse_generate({"--stop", "a", "-vn"}, {"-vn", "needs a value"});
}

TEST_CASE("command line: a flag takes no value") {
  refuse_generate({"--echo=true"}, {"--echo", "takes no value"});
  refuse_generate({"--echo="}, {"--echo", "takes no value"});
  refuse({"--help=1"}, {"--help", "takes no value"});
}

TEST_CASE("command line: what may be given once is refused twice, under any name") {
  refuse_generate({"-m", "e"}, {"--model", "more than once"});
  refuse_generate({"-n", "1", "--n-predict", "1"}, {"--max-tokens", "more than once"});
  refuse_generate({"--temp", "1", "--temperature", "1"}, {"--temp", "more than once"});
  refuse_generate({"-p", "a", "-p", "a"}, {"--prompt", "more than once"});
  refuse_generate({"-p", "", "-p", ""}, {"--prompt", "more than once"});
  refuse_generate({"--echo", "--echo"}, {"--echo", "more than once"});
  refuse_generate({"-qq"}, {"--quiet", "more than once"});
  refuse_generate({"--seed", "1", "--seed", "1"}, {"--seed", "more than once"});
  refuse_generate({"--kv-policy", "full", "--kv-policy", "full"},
                  {"--kv-policy", "more than once"});
  refuse_generate({"--kv-budget", "1", "--kv-budget", "1"}, {"--kv-budget", "more than once"});
  refuse_generate({"--kv-fill", "--kv-fill"}, {"--kv-fill", "more than once"});
  refuse_generate({"--then", "a", "--then", "b"}, {"--then", "more than once"});
  refuse({"-m", "d", "check", "-m", "d"}, {"--model", "more than once"});
}

TEST_CASE("command line: a model is required by every command") {
  for (const std::string& command : kCommands) refuse({command}, {command, "-m DIR"});
}

TEST_CASE("command line: --version says which source was built, for what, with which libraries") {
  const std::string text = printed({"--version"});
  CAPTURE(text);
  const std::string first = text.substr(0, text.find('\n'));
  CHECK(first == std::string("winnow ") + kVersion + ", commit " + built_commit());
  CHECK(text.find("\nbuilt " + built_for() + ", by g++ ") != std::string::npos);
  CHECK(std::ranges::count(text, '\n') == 3);
  for (const char* library :
       {"sentencepiece", "PCRE2 10.", "utf8proc 2.", "nlohmann-json 3.", "CLI11 2.", "libedit"}) {
    CHECK(text.find(library) != std::string::npos);
  }
  CHECK(printed({"generate", "--version"}) == text);
  CHECK(printed({"--version", "generate"}) == text);
}

TEST_CASE("command line: --help lists the commands and the exit codes") {
  const std::string help = printed({"--help"});
  CHECK(printed({"-h"}) == help);
  CHECK(printed({"-m", "d", "--help"}) == help);
  for (const std::string& command : kCommands)
    CHECK(help.find("\n  " + command) != std::string::npos);
  for (const char* code : {"0", "1", "2", "3", "4", "5", "6", "7", "130", "143"}) {
    CAPTURE(code);
    CHECK(help.find("\n  " + std::string(code) + " ") != std::string::npos);
  }
}

TEST_CASE("command line: a command's --help lists every option, each with its default") {
  for (const std::string& command : kCommands) {
    const std::string help = printed({command, "--help"});
    CAPTURE(help);
    CHECK(printed({"--help", command}) == help);
    CHECK(printed({"-m", "d", command, "-h"}) == help);
    CHECK(help.find("winnow " + command) != std::string::npos);
    CHECK(help.find("Exit codes:") != std::string::npos);
    CHECK(help.find("--model DIR") != std::string::npos);

    // An option's text is on its own line, or on the next where its names or its words are long.
    std::istringstream lines(help);
    std::string line;
    while (std::getline(lines, line)) {
      if (!line.starts_with("  -") || line.find("--help") != std::string::npos ||
          line.find("--version") != std::string::npos) {
        continue;
      }
      CAPTURE(line);
      std::string text = line;
      while (text.find("(") == std::string::npos && std::getline(lines, text)) {
      }
      CHECK(text.size() <= 100);
      CHECK((text.find("(default") != std::string::npos ||
             text.find("default ") != std::string::npos ||
             text.find("(required)") != std::string::npos));
    }
  }
}

TEST_CASE("command line: the help names the defaults that the values have") {
  const std::string help = printed({"generate", "--help"});
  for (const char* text : {"(default 256)", "(default auto)", "(default full)",
                           "(default model's, or 1)", "(default all cores)"}) {
    CHECK(help.find(text) != std::string::npos);
  }
  for (const char* command : {"generate", "bench"}) {
    const std::string text = printed({command, "--help"});
    const bool lists = std::string(command) == "bench";
    CHECK(text.find(lists ? "--kv-policy LIST" : "--kv-policy NAME") != std::string::npos);
    CHECK(text.find("(default original)") != std::string::npos);
    CHECK(text.find("(default )") == std::string::npos);
  }
  CHECK(printed({"tokenize", "--help"}).find("(default no)") != std::string::npos);
  CHECK(printed({"bench", "--help"}).find("(default 512)") != std::string::npos);
}

}  // namespace
}  // namespace winnow::test
