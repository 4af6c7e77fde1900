// --cache-save and --cache-load: read once, ask many times.
#include <doctest/doctest.h>

#include <csignal>
#include <filesystem>
#include <set>

#include "tests/support/winnow_runs.h"

using namespace winnow;
using namespace winnow::test;

namespace {

const std::string kQuestion = ". The old man looked at them and";

/// Runs over the bundled model.
struct Story {
  TempDir dir;
  std::string text = story(6);
  std::string file = (dir / "story.cache").string();

  Words run(const Words& more, const std::string& n = "12") const {
    return joined({"generate", "-m", kDemo, "-n", n, "--ignore-eos"}, more);
  }
  Words read(const Words& more = {}) const { return joined(run({"-p", text}), more); }
  Words save(const Words& more = {}) const { return joined(read({"--cache-save", file}), more); }
  Words load(const Words& more = {}) const { return joined(run({"--cache-load", file}), more); }

  std::set<std::string> names() const {
    std::set<std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
      all.insert(entry.path().filename().string());
    }
    return all;
  }
};

Words policy(const std::string& name, const std::string& budget, const Words& more = {}) {
  return joined({"--kv-policy", name, "--kv-budget", budget}, more);
}

/// What must be the same where a text was loaded instead of read.
void check_same_run(const OrderedJson& loaded, const OrderedJson& read) {
  CHECK(loaded["tokens"] == read["tokens"]);
  CHECK(loaded["text"] == read["text"]);
  CHECK(loaded["logits_hash"] == read["logits_hash"]);
  CHECK(loaded["prompt_tokens"] == read["prompt_tokens"]);
  CHECK(loaded["stop_reason"] == read["stop_reason"]);
  for (const char* key : {"policy", "budget", "rows_full", "rows_kept", "rows_shared", "bytes_full",
                          "bytes_kept", "footprint", "peak_fraction", "occupancy"}) {
    CAPTURE(key);
    CHECK(loaded["kv"][key] == read["kv"][key]);
  }
}

}  // namespace

TEST_CASE("cli cache: loaded and continued equals never saved, for every kind of cache") {
  const Story story;
  const std::vector<Words> all = {
      {},
      policy("sage", "40"),
      policy("sage", "5000"),
      policy("sage", "25%", {"--kv-group", "max", "--kv-reselect"}),
      policy("sage", "40", {"--kv-fill", "--kv-recompact", "5"}),
      policy("streaming", "512K", {"--kv-positions", "cache"}),
      policy("random", "32", {"--seed", "9"}),
  };
  for (const Words& kv : all) {
    CAPTURE(kv.empty() ? "full" : kv.back());
    const OrderedJson saved = json_result(story.save(kv));
    CHECK(saved["logits_hash"] == json_result(story.read(kv))["logits_hash"]);
    CHECK(saved["cache_saved"]["file"] == story.file);
    CHECK(saved["cache_saved"]["bytes"] == std::filesystem::file_size(story.file));
    CHECK(saved["cache_saved"]["rows"] == saved["kv"]["rows_kept"]);
    CHECK(saved["cache_saved"]["tokens"] == saved["prompt_tokens"]);
    // Without a question the text goes on as it would have.
    const OrderedJson again = json_result(story.load());
    check_same_run(again, saved);
    CHECK(again["timings"]["prompt_n"] == 0);
    CHECK(again["timings"]["cache_n"] == saved["prompt_tokens"]);
    CHECK(again["cache_loaded"]["tokens_hash"] == saved["cache_saved"]["tokens_hash"]);
    CHECK(again["cache_loaded"]["rows"] == saved["cache_saved"]["rows"]);
    // With one it is read as --then reads it.
    const OrderedJson then = json_result(story.read(joined(kv, {"--then", kQuestion})));
    const OrderedJson asked = json_result(story.load({"-p", kQuestion}));
    check_same_run(asked, then);
    CHECK(asked["timings"]["prompt_n"].get<int64_t>() +
              asked["timings"]["cache_n"].get<int64_t>() ==
          then["timings"]["prompt_n"].get<int64_t>());
    CHECK(asked["logits_hash"] != again["logits_hash"]);
  }
  CHECK(story.names() == std::set<std::string>{"story.cache"});
}

TEST_CASE("cli cache: draws with a seed and a penalty go on as they would have") {
  const Story story;
  const Words draws = {"--temp", "0.9", "--top-p", "0.9", "--repeat-penalty", "1.4", "--seed", "3"};
  const Words kv = policy("sage", "40");
  json_result(story.save(kv));
  check_same_run(json_result(story.load(draws)), json_result(story.read(joined(kv, draws))));
  check_same_run(json_result(story.load(joined(draws, {"-p", kQuestion}))),
                 json_result(story.read(joined(joined(kv, draws), {"--then", kQuestion}))));
}

TEST_CASE("cli cache: a text that was loaded is saved with the question, and over itself") {
  const Story story;
  const Words kv = policy("sage", "40");
  json_result(story.run(joined(kv, {"-p", story.text, "--cache-save", story.file}), "0"));
  const OrderedJson both = json_result(story.load({"-p", kQuestion, "--cache-save", story.file}));
  CHECK(both["cache_saved"]["tokens"] == both["prompt_tokens"]);
  check_same_run(json_result(story.load()),
                 json_result(story.read(joined(kv, {"--then", kQuestion}))));
  const OrderedJson third = json_result(story.load({"-p", kQuestion, "--then", kQuestion}));
  CHECK(third["prompt_tokens"].get<int64_t>() > both["prompt_tokens"].get<int64_t>());
}

TEST_CASE("cli cache: stdin is a question where it is asked for") {
  const Story story;
  json_result(story.save());
  const std::string expected = succeed(story.load({"-p", kQuestion})).out;
  CHECK(succeed({.arguments = story.load({"-f", "-"}), .input = kQuestion}).out == expected);
  CHECK(succeed({.arguments = story.load(), .input = kQuestion}).out ==
        succeed(story.load({"-p", ""})).out);
  CHECK(succeed(story.load({"-p", kQuestion, "--echo"})).out == kQuestion + expected);
}

TEST_CASE("cli cache: what was kept can be looked at after loading, too") {
  const Story story;
  const Words kv = policy("sage", "40");
  const KeptRun saved = kept_run(story.save(kv));
  const KeptRun loaded = kept_run(story.load());
  CHECK(loaded.kept == saved.kept);
  const Finished shown = succeed(story.load({"--kv-show"}));
  CHECK(shown.err.find("captain") != std::string::npos);
  CHECK(shown.err.find("opened") != std::string::npos);
}

TEST_CASE("cli cache: options that contradict the file are refused, both named") {
  const Story story;
  json_result(story.save(policy("sage", "40", {"--kv-recompact", "5"})));
  succeed(story.load(policy("sage", "40", {"--kv-recompact", "5"})));
  succeed(story.load({"--kv-budget", "40"}));
  const auto refused = [&](const Words& given, std::initializer_list<std::string_view> parts) {
    fails(story.load(given), 2, parts);
  };
  const std::string with = "contradicts --cache-load " + story.file + ", which was saved with ";
  refused({"--kv-budget", "41"}, {"--kv-budget 41 " + with + "--kv-budget 40"});
  refused({"--kv-budget", "10%"}, {"--kv-budget 10% " + with + "--kv-budget 40"});
  refused({"--kv-policy", "full"}, {"--kv-policy full " + with + "--kv-policy sage"});
  refused({"--kv-policy", "streaming"}, {with + "--kv-policy sage"});
  refused({"--kv-sink", "4"}, {"--kv-sink 4 " + with + "--kv-sink of the policy's own"});
  refused({"--kv-recent", "4"}, {"--kv-recent 4 " + with});
  refused({"--kv-group", "mean"}, {"--kv-group mean " + with + "--kv-group of the policy's own"});
  refused({"--kv-fill"}, {"--kv-fill on " + with + "--kv-fill off"});
  refused({"--kv-reselect"}, {"--kv-reselect on " + with + "--kv-reselect off"});
  refused({"--kv-recompact", "0"}, {"--kv-recompact 0 " + with + "--kv-recompact 5"});
  refused({"--kv-positions", "cache"},
          {"--kv-positions cache " + with + "--kv-positions original"});
  refused({"--bos", "yes"}, {"--bos yes has no meaning with --cache-load"});
  fails(story.load({"--cache-load", story.file}), 2, {"--cache-load was given more than once"});
  fails(story.run({"--cache-load", "-"}), 2, {"--cache-load must be a file"});
  fails(story.run({"--cache-load", ""}), 2, {"--cache-load must not be empty"});
  fails(story.run({"--cache-save", "-", "-p", "x"}), 2, {"--cache-save must be a file"});
}

TEST_CASE("cli cache: another model's file is refused, by what differs") {
  const TempDir dir;
  const std::string file = (dir / "c").string();
  const auto load = [&](const TinyDir& model) {
    return Words{"generate", "-m", model.name(), "-n", "2", "--cache-load", file};
  };
  const TinyDir one;
  succeed({"generate", "-m", one.name(), "-p", "x x x", "-n", "0", "--cache-save", file});
  succeed(load(one));
  succeed(load(TinyDir()));  // a copy
  succeed(load(TinyDir({}, R"(,"transformers_version":"9")")));
  fails(load(TinyDir({.seed = 2})), 3, {file, "is of another model: its weights were others than"});
  fails(load(TinyDir({.rope_theta = 20000})), 3, {file, "its config.json was another than"});
  fails(load(TinyDir({.n_layers = 3})), 3, {"num_hidden_layers is 2, and this one's is 3"});
  fails(load(TinyDir({.n_kv_heads = 1})), 3, {"num_key_value_heads is 2, and this one's is 1"});
  fails(load(TinyDir({.n_heads = 8})), 3, {"query heads of a KV head is 2, and this one's is 4"});
  fails(load(TinyDir({.head_dim = 16})), 3, {"head_dim is 8, and this one's is 16"});
}

TEST_CASE("cli cache: damaged, cut and missing files end in one line") {
  const Story story;
  json_result(story.save(policy("sage", "40")));
  const std::string sound = read_file(story.file);
  for (const size_t n : {size_t{0}, size_t{100}, size_t{1000}, sound.size() - 1}) {
    write_file(story.file, sound.substr(0, n));
    fails(story.load(), 3, {story.file});
  }
  std::string damaged = sound;
  damaged[damaged.size() / 2] ^= 4;
  write_file(story.file, damaged);
  fails(story.load(), 3, {story.file + ": is damaged"});
  write_file(story.file, "GGUF and more");
  fails(story.load(), 3, {"is a GGUF file"});
  fails(story.run({"--cache-load", story.dir.path().string()}), 6, {"is a directory"});
  fails(story.run({"--cache-load", "/nowhere/c"}), 6, {"/nowhere/c: cannot open"});
}

TEST_CASE("cli cache: a text that does not fit is refused by its length, or its memory") {
  const Story story;
  const OrderedJson saved = json_result(story.save());
  const auto n = saved["prompt_tokens"].get<int64_t>();
  fails(story.load({"-c", std::to_string(n - 1)}), 7,
        {story.file + ": its text does not fit: " + std::to_string(n) + " tokens"});
  fails(story.load({"-c", std::to_string(n), "-p", "x"}), 7, {"the prompt does not fit"});
  CHECK(json_result(story.load({"-c", std::to_string(n)}))["tokens"].size() == 1);
  fails(story.run({"--cache-load", story.file, "-c", "200000000"}, "100000000"), 4,
        {"out of memory on cpu", "KV cache of"});
}

TEST_CASE("cli cache: a file that cannot be written is told, and the old one is kept") {
  const Story story;
  fails(story.read({"--cache-save", "/nowhere/c"}), 6, {"/nowhere/c: cannot write"});
  fails(story.read({"--cache-save", story.dir.path().string()}), 6, {"not a regular file"});
  json_result(story.save());
  const std::string sound = read_file(story.file);
  ProcessSpec full{.arguments = story.save(policy("sage", "40"))};
  full.limits[RLIMIT_FSIZE] = 4096;
  const auto before = std::signal(SIGXFSZ, SIG_IGN);  // as a full disk: the process inherits it
  fails(full, 6, {story.file + ": cannot write"});
  std::signal(SIGXFSZ, before);
  CHECK(read_file(story.file) == sound);
  CHECK(story.names() == std::set<std::string>{"story.cache"});
}

TEST_CASE("cli cache: the summary says what was saved and opened") {
  const Story story;
  const Finished saved = succeed(story.save(policy("sage", "40")));
  CHECK(saved.err.find("saved ") != std::string::npos);
  const Finished loaded = succeed(story.load());
  CHECK(loaded.err.find("opened ") != std::string::npos);
  CHECK(loaded.err.find("tokens, ") != std::string::npos);
  CHECK(loaded.err.find("policy sage") != std::string::npos);
  CHECK(loaded.err.find("budget  40 rows a head: 10 first") != std::string::npos);
  CHECK(loaded.out == saved.out);
}
