// Options about the cache that cannot be: one line that names the option and the cause, a code, and
// nothing loaded.
#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/winnow_runs.h"

namespace winnow::test {
namespace {

/// A prompt of 40 tokens, BOS included. The model has 2 layers of 2 KV heads of 2 query heads; a
/// row takes 2 * 8 * 4 + 8 = 72 bytes.
Words run_of(const TinyDir& dir, const Words& more) {
  return joined({"generate", "-m", dir.name(), "-p", text_of(39), "-n", "4", "--ignore-eos"}, more);
}

}  // namespace

TEST_CASE("cli kv refused: budgets that are no rows, no part of the prompt and no bytes") {
  const TinyDir tiny;
  for (const char* budget :
       {"0",   "-1",  "abc", "",    "12x", "1e3",        "0x10",
        "+8",  " 8",  "8 ",  "8.5", "0.5", "2147483648", "99999999999999999999",
        "inf", "nan", "ten", "8,9", "B",   "8B",         "8KB",
        "8T"}) {
    const std::string option = std::string("--kv-budget=") + budget;
    fails(run_of(tiny, {"--kv-policy", "sage", option}), 2,
          {"--kv-budget must be rows", "10%", "512M", "'" + std::string(budget) + "'"});
  }
  for (const char* budget : {"150%", "0%", "100.01%", "-5%", "%", "nan%", "1e1%", "5%%", "5 %"}) {
    const std::string option = std::string("--kv-budget=") + budget;
    fails(run_of(tiny, {"--kv-policy", "sage", option}), 2,
          {"--kv-budget must be over 0% and at most 100%", "'" + std::string(budget) + "'"});
  }
  for (const char* budget : {"0G", "1.5G", "-1M", "K", "M", "99999999999999999999G", "1e3K"}) {
    const std::string option = std::string("--kv-budget=") + budget;
    fails(run_of(tiny, {"--kv-policy", "sage", option}), 2,
          {"--kv-budget must be a whole number of K, M or G", "'" + std::string(budget) + "'"});
  }
}

TEST_CASE("cli kv refused: budgets below what is always kept, naming the least that would do") {
  const TinyDir tiny;
  struct Case {
    std::string policy;
    std::string budget;
    Words shares;
    std::string cause;
    std::string enough;  // the least budget with these shares that is not refused
  };
  // Two lists: by the paper k and S are B / 4, and the recent rows get what is left.
  const std::vector<Case> cases = {
      {"sage", "3", {}, "3 is too small", "4"},
      {"random", "1", {}, "1 is too small", "4"},
      {"streaming", "4", {}, "4 is too small", "5"},
      {"sage", "5%", {}, "5% (2 rows) is too small", "4"},
      {"streaming", "1K", {}, "1K (3 rows) is too small", "5"},
      {"sage", "1K", {}, "1K (3 rows) is too small", "4"},
      {"sage", "16", {"--kv-sink", "14"}, "14 sinks (--kv-sink)", "17"},
      {"sage", "16", {"--kv-recent", "16"}, "16 recent rows (--kv-recent)", "23"},
      {"sage", "16", {"--kv-sink", "8", "--kv-recent", "7"}, "at least 1 row for each of 2", "17"},
      {"random", "15", {"--kv-group", "max", "--kv-sink", "14"}, "at least 1 row between", "16"},
      {"streaming", "8", {"--kv-sink", "8"}, "8 sinks (--kv-sink) and 1 recent row", "9"},
      {"streaming", "8", {"--kv-recent", "9"}, "9 recent rows (--kv-recent)", "13"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.cause);
    const auto run = [&](const std::string& budget) {
      return run_of(tiny, joined(c.shares, {"--kv-policy", c.policy, "--kv-budget", budget}));
    };
    const std::string least = "at least " + c.enough + " rows";
    fails(run(c.budget), 2, {"--kv-budget " + c.budget, c.cause, least});
    fails(run(std::to_string(std::stoi(c.enough) - 1)), 2, {least});
    succeed(run(c.enough));
  }
  fails(run_of(tiny, {"--kv-policy", "sage", "--kv-budget", "2%"}), 2,
        {"2% of a prompt of 40 tokens is less than one row", "at least 2.5%"});
  const Words huge = {"--kv-policy", "sage", "--kv-budget", "16", "--kv-sink", "2147483647"};
  fails(run_of(tiny, huge), 2, {"2147483647 sinks (--kv-sink)"});
  fails(run_of(tiny, joined(huge, {"--kv-recent", "2147483647"})), 2,
        {"2147483647 sinks (--kv-sink)", "2147483647 recent rows (--kv-recent)"});
}

TEST_CASE("cli kv refused: a budget of fewer bytes than one row of all heads") {
  const TinyDir tiny({.n_layers = 8});  // 8 * 2 * 72 = 1152 bytes
  fails(run_of(tiny, {"--kv-policy", "sage", "--kv-budget", "1K"}), 2,
        {"--kv-budget 1K", "one row for each of 8 layers x 2 KV heads", "1.1 KiB", "at least 2K"});
}

TEST_CASE("cli kv refused: a budget too small for a prompt that fits, if rows leave later") {
  const TinyDir tiny;
  const Words run = {"generate", "-m",          tiny.name(), "-p",          "x", "-n",
                     "4",        "--kv-policy", "sage",      "--kv-budget", "3"};
  succeed(run);
  fails(joined(run, {"--kv-recompact", "2"}), 2, {"3 is too small", "at least 4 rows"});
  fails(joined(run, {"--kv-reselect", "--then", "x x"}), 2, {"3 is too small", "at least 4 rows"});
}

TEST_CASE("cli kv refused: words that are none of the known, which are listed") {
  const TinyDir tiny;
  for (const char* policy : {"nope", "", "Sage", "sage ", "sag"}) {
    fails(run_of(tiny, {"--kv-policy", policy, "--kv-budget", "8"}), 2,
          {"--kv-policy must be full, sage, laprox, ", "'" + std::string(policy) + "'"});
  }
  const Words sage = {"--kv-policy", "sage", "--kv-budget", "8"};
  fails(run_of(tiny, joined(sage, {"--kv-group", "min"})), 2,
        {"--kv-group must be head, mean, max or sum", "'min'"});
  fails(run_of(tiny, joined(sage, {"--kv-positions", "text"})), 2,
        {"--kv-positions must be original or cache", "'text'"});
  fails(run_of(tiny, {"--kv-policy", "expected", "--kv-budget", "8", "--kv-positions", "cache"}), 2,
        {"--kv-positions cache does not go with --kv-policy expected"});
  for (const char* number : {"-1", "x", "", "1.5", "2147483648"}) {
    for (const char* option : {"--kv-sink", "--kv-recent", "--kv-recompact"}) {
      const std::string word = std::string(option) + "=" + number;
      fails(run_of(tiny, joined(sage, {word})), 2, {option, "'" + std::string(number) + "'"});
    }
  }
  fails(run_of(tiny, joined(sage, {"--kv-recent", "0"})), 2, {"--kv-recent", "from 1", "'0'"});
}

TEST_CASE("cli kv refused: options that have no meaning together, or lack another one") {
  const TinyDir tiny;
  const auto refuse = [&](const Words& options, std::initializer_list<std::string_view> parts) {
    fails(run_of(tiny, options), 2, parts);
  };
  refuse({"--kv-budget", "8"}, {"--kv-budget", "--kv-policy full"});
  refuse({"--kv-policy", "full", "--kv-budget", "8"}, {"--kv-budget", "--kv-policy full"});
  for (const char* policy : {"sage", "streaming", "random"}) {
    refuse({"--kv-policy", policy}, {policy, "needs --kv-budget"});
  }
  const Words group = {"--kv-group", "mean"};
  const Words streaming = {"--kv-policy", "streaming", "--kv-budget", "8"};
  refuse(joined(streaming, group), {"--kv-group", "--kv-policy streaming"});
  refuse(joined(streaming, {"--kv-fill"}), {"--kv-fill", "--kv-policy streaming"});
  refuse(group, {"--kv-group", "--kv-policy full"});
  for (const Words& option :
       {Words{"--kv-sink", "1"}, Words{"--kv-recent", "1"}, Words{"--kv-recompact", "1"},
        Words{"--kv-reselect"}, Words{"--kv-positions", "cache"}, Words{"--kv-fill"}}) {
    refuse(option, {option[0], "no meaning with --kv-policy full"});
  }
  for (const char* combined : {"mean", "max", "sum"}) {
    refuse({"--kv-policy", "sage", "--kv-budget", "8", "--kv-fill", "--kv-group", combined},
           {"--kv-fill needs --kv-group head"});
  }
  refuse({"--then", ""}, {"--then must not be empty"});
  refuse({"--dump-layers", "0"}, {"--dump-layers needs --dump"});
  for (const char* option : {"--kv-map", "--kv-dump"}) {
    refuse({option, ""}, {option, "must not be empty"});
    refuse({option, "-"}, {option, "must be a file"});
  }
}

TEST_CASE("cli kv refused: --dump-layers that are no list, or that the model does not have") {
  const TinyDir tiny;
  const TempDir dir;
  const std::string folder = (dir / "dump").string();
  for (const char* list : {"x", "", "1,,2", "-1", "0,1,x", "0;1", "1.5"}) {
    const std::string layers = std::string("--dump-layers=") + list;
    fails(run_of(tiny, {"--dump", folder, layers}), 2, {"--dump-layers must be a list"});
  }
  for (const char* list : {"2", "0,2", "2147483647"}) {
    fails(run_of(tiny, {"--dump", folder, "--dump-layers", list}), 2,
          {"--dump-layers: there is no layer 2", "the last is 1"});
  }
  CHECK_FALSE(std::filesystem::exists(folder));
}

TEST_CASE("cli kv refused: places that cannot be written, before anything is loaded") {
  const TinyDir tiny;
  const TempDir dir;
  const std::string none = (dir / "none" / "file").string();
  const auto refuse = [&](const Words& options, std::initializer_list<std::string_view> parts) {
    const Words run = run_of(tiny, joined(options, {"--kv-policy", "sage", "--kv-budget", "8"}));
    fails(run, 6, parts);
    CHECK(test::run(run).err.find("memory ") == std::string::npos);
  };
  for (const char* option : {"--kv-map", "--kv-dump"}) {
    refuse({option, none}, {none, "cannot write", "No such file"});
    refuse({option, dir.path().string()}, {dir.path().string(), "Is a directory"});
  }
  write_file(dir / "file", "");
  const std::string below = (dir / "file" / "sub").string();
  refuse({"--dump", below}, {below, "cannot make the directory"});
  refuse({"--dump", (dir / "file").string()}, {"cannot make the directory"});
}

TEST_CASE("cli kv refused: a full disk is told, whichever file it was") {
  const TinyDir tiny;
  for (const char* option : {"--kv-map", "--kv-dump"}) {
    fails(run_of(tiny, {option, "/dev/full"}), 6, {"/dev/full", "No space left on device"});
  }
  const TempDir dir;
  std::filesystem::create_symlink("/dev/full", dir / "layer_01.k.npy");
  fails(run_of(tiny, {"--dump", dir.path().string()}), 6, {"layer_01.k.npy"});
}

TEST_CASE("cli kv refused: both prompts have to fit into the context") {
  const TinyDir tiny;
  const Words then = {"--then", text_of(20)};
  succeed(run_of(tiny, joined(then, {"-c", "60"})));
  fails(run_of(tiny, joined(then, {"-c", "59"})), 7, {"60 tokens", "59"});
  fails(run_of(tiny, joined({"--then", text_of(89)}, {"-q"})), 7, {"129 tokens", "128"});
  // What is kept of the prompt does not matter: the places in the text do.
  const Words sage = {"--kv-policy", "sage", "--kv-budget", "8"};
  fails(run_of(tiny, joined(sage, {"-c", "39"})), 7, {"40 tokens", "39"});
  fails(run_of(tiny, joined(joined(sage, then), {"-c", "59"})), 7, {"60 tokens", "59"});
  CHECK(json_result(run_of(tiny, joined(sage, {"-c", "40"})))["tokens"].size() == 1);
}

}  // namespace winnow::test
