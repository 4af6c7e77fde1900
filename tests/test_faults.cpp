// What the system refuses, one call at a time: memory, and files that cannot be read or written. A
// run ends with one line and the documented exit code, whichever call it was.
#include <doctest/doctest.h>

#include <set>
#include <string>

#include "tests/support/faulty_runs.h"

namespace winnow::test {
namespace {

Words generate_of(const TinyDir& tiny, const Words& more = {}) {
  return joined({"generate", "-m", tiny.name(), "-p", text_of(24), "-n", "4", "-q", "--threads",
                 "2", "--temp", "0"},
                more);
}

const Words kWinnowed = {"--kv-policy", "sage", "--kv-budget", "16"};

std::set<std::string> names_in(const TempDir& dir) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

}  // namespace

TEST_CASE("faults: any allocation of a winnowed run may fail, alone or with all after it") {
  const TinyDir tiny;
  const FaultyRun run(generate_of(tiny, kWinnowed));
  run.sweep("new", "", 150, 4);
  run.sweep("new", "+", 75, 4);
}

TEST_CASE("faults: any pages may be refused") {
  const TinyDir tiny;
  const FaultyRun run(generate_of(tiny, kWinnowed));
  run.sweep("pages", "", 40, 4);
  run.sweep("pages", "+", 40, 4);
}

TEST_CASE("faults: allocations of both tokenizer libraries may fail") {
  const std::string tokenizers = "tests/fixtures/tokenizers/";
  for (const char* name : {"tekken", "digits"}) {  // PCRE2 allocates by malloc
    const FaultyRun run({"tokenize", "-m", tokenizers + name, "-p", "a text of 1234 words"});
    run.sweep("new", "", 40, 4);
    run.sweep("malloc", "+", 20, 4);
  }
  const FaultyRun run({"tokenize", "-m", kDemo, "-p", "a text of 1234 words"});
  run.sweep("new", "", 80, 4);
}

TEST_CASE("faults: any read of a model may fail, and any file may end there") {
  const TinyDir tiny;
  const FaultyRun run(generate_of(tiny));
  run.sweep("open", "", 10, 6);
  run.sweep("read", "", 60, 6);
  run.sweep("end", "", 60, 6);
}

TEST_CASE("faults: reads and writes may be short, and interrupted by signals, all of them") {
  const TinyDir tiny;
  const TempDir dir;
  const std::string cache = (dir / "cache").string();
  const FaultyRun run(generate_of(tiny, joined(kWinnowed, {"--cache-save", cache})));
  const std::string saved = read_file(cache);
  for (const char* fault : {"short:1+", "signal:1+", "short:7", "signal:7"}) {
    CAPTURE(fault);
    std::filesystem::remove(cache);
    const Finished end = run.run(fault);
    CHECK(end.code == 0);
    CHECK(end.out == run.whole().out);
    CHECK(read_file(cache) == saved);
  }
}

TEST_CASE("faults: a cache that cannot be written leaves the old one, and nothing beside it") {
  const TinyDir tiny;
  const TempDir dir;
  const std::string cache = (dir / "cache").string();
  const FaultyRun run(generate_of(tiny, joined(kWinnowed, {"--cache-save", cache})));
  const std::string fresh = read_file(cache);
  const auto old_or_new = [&](const Finished&) {
    CHECK(names_in(dir) == std::set<std::string>{"cache"});
    const std::string left = read_file(cache);
    CHECK((left == "old" || left == fresh));
    write_file(cache, "old");
  };
  write_file(cache, "old");
  run.sweep("write", "", 60, 6, old_or_new);
  run.sweep("rename", "", 1, 6, old_or_new);
  const Finished not_synced = run.run("sync:1");
  check_failure(not_synced, 6, {cache + ": cannot write"});
  CHECK(read_file(cache) == "old");
  CHECK(names_in(dir) == std::set<std::string>{"cache"});
}

TEST_CASE("faults: a cache whose file fails while it is read is refused") {
  const TinyDir tiny;
  const TempDir dir;
  const std::string cache = (dir / "cache").string();
  succeed(generate_of(tiny, joined(kWinnowed, {"--cache-save", cache})));
  const FaultyRun run({"generate", "-m", tiny.name(), "--cache-load", cache, "-n", "4", "-q",
                       "--threads", "2", "--temp", "0"});
  run.sweep("read", "", 60, 6);
  run.sweep("end", "", 60, 6);
  run.sweep("new", "", 60, 4);
}

}  // namespace winnow::test
