// generate: lengths, the context's end, and the memory that a run takes.
#include <doctest/doctest.h>

#include <string>

#include "tests/support/winnow_runs.h"

namespace winnow::test {
namespace {

/// A run over TinyDir's "x x x ...": `n_prompt` tokens, BOS included.
Words run_of(const TinyDir& dir, int64_t n_prompt, const std::string& n, const std::string& ctx) {
  return {"generate", "-m", dir.name(), "-p", text_of(n_prompt - 1),
          "-n",       n,    "-c",       ctx,  "--ignore-eos"};
}

}  // namespace

TEST_CASE("cli limits: -n 0 writes nothing and reads the prompt, -n 1 writes one token") {
  const TinyDir tiny;
  for (const char* name : {"--max-tokens", "-n", "--n-predict"}) {
    const Words run = {"generate", "-m", tiny.name(), "-p", "x x", name};
    CHECK(succeed(joined(run, {"0"})).out.empty());
    const OrderedJson none = json_result(joined(run, {"0"}));
    CHECK(none["tokens"].empty());
    CHECK(none["text"] == "");
    CHECK(none["stop_reason"] == "length");
    CHECK(none["prompt_tokens"] == 3);
    CHECK(none["kv"]["rows_kept"] == 3 * 2 * 2);
    CHECK(json_result(joined(run, {"1"}))["tokens"].size() == 1);
  }
}

TEST_CASE("cli limits: without -n, 256 tokens") {
  const TinyDir tiny({.max_positions = 1000});
  const Words run = {"generate", "-m", tiny.name(), "-p", "x", "--ignore-eos"};
  CHECK(json_result(run)["tokens"].size() == 256);
}

TEST_CASE("cli limits: -n -1 goes on until the context is full") {
  const TinyDir tiny;
  // Every token but the last that is drawn has a place in the context.
  const OrderedJson json = json_result(run_of(tiny, 5, "-1", "40"));
  CHECK(json["tokens"].size() == 40 - 5 + 1);
  CHECK(json["stop_reason"] == "length");
  const Words whole = {"generate", "-m", tiny.name(), "-p", "x", "-n", "-1", "--ignore-eos"};
  CHECK(json_result(whole)["tokens"].size() == 128 - 2 + 1);  // max_position_embeddings
}

TEST_CASE("cli limits: a larger -n ends where the context does") {
  const TinyDir tiny;
  CHECK(json_result(run_of(tiny, 5, "2147483647", "40"))["tokens"].size() == 36);
  CHECK(json_result(run_of(tiny, 5, "36", "40"))["tokens"].size() == 36);
  CHECK(json_result(run_of(tiny, 5, "35", "40"))["tokens"].size() == 35);
}

TEST_CASE("cli limits: a prompt up to the whole context is read, one token more is refused") {
  const TinyDir tiny;
  CHECK(json_result(run_of(tiny, 19, "-1", "20"))["tokens"].size() == 2);
  CHECK(json_result(run_of(tiny, 20, "-1", "20"))["tokens"].size() == 1);
  fails(run_of(tiny, 21, "-1", "20"), 7, {"prompt", "21", "20"});
  fails(run_of(tiny, 21, "0", "20"), 7, {"21", "20"});
  fails(run_of(tiny, 2, "1", "1"), 7, {"2", "1"});
}

TEST_CASE("cli limits: -c over the model's own context is allowed, with a warning") {
  const TinyDir tiny;
  const Words run = run_of(tiny, 200, "3", "300");
  const Finished done = succeed(run);
  CHECK(done.err.find("warning: -c 300") != std::string::npos);
  CHECK(json_result(run)["tokens"].size() == 3);
}

TEST_CASE("cli limits: a plan that does not fit is refused with the numbers, before loading") {
  const auto over = [](const Words& run) {
    fails(joined(run, {"-q"}), 4, {"out of memory", "needed", "free", "KV cache"});
  };
  const Words run = {"generate", "-m", kDemo, "-p", "x", "-n", "-1"};
  over(joined(run, {"-c", "2000000000"}));
  const TinyDir huge({.n_heads = 256, .n_kv_heads = 256, .max_positions = 1000000000000});
  const Words on_huge = {"generate", "-m", huge.name(), "-p", "x", "-n"};
  over(joined(on_huge, {"-1"}));
  // What the run does not need is not planned for.
  CHECK(json_result(joined(on_huge, {"2"}))["tokens"].size() == 2);
}

TEST_CASE("cli limits: -n and -c beyond the numbers are refused") {
  for (const char* n : {"99999999999", "-2", "1.5", "", "0x10", "ten", "1e3", " 1"}) {
    fails({"generate", "-m", kDemo, "-p", "x", "-n", n}, 2, {"--max-tokens"});
  }
  for (const char* c : {"99999999999", "-1", "10^9"}) {
    fails({"generate", "-m", kDemo, "-p", "x", "-c", c}, 2, {"--ctx-size"});
  }
}

// A sanitizer takes memory, addresses and file descriptors of its own.
#if !defined(__SANITIZE_ADDRESS__)

namespace {

/// The least address space, in MiB, in which the program and its libraries are mapped at all: below
/// it the loader ends the program. The kernels for GPUs are part of it, so that it depends on the
/// build.
rlim_t mib_to_start() {
  for (rlim_t mib = 16; mib < 1000; mib += 2) {
    const Finished done =
        run(ProcessSpec{.arguments = {"--version"}, .limits = {{RLIMIT_AS, mib << 20}}});
    if (done.code == 0 || done.code == 4) return mib;
  }
  FAIL("--version does not run in 1000 MiB");
  return 0;
}

}  // namespace

TEST_CASE(
    "cli limits: under any limit of address space a run works, or says that it lacks memory") {
  const rlim_t least = mib_to_start();
  Finished last;
  for (const rlim_t more : {0, 4, 8, 12, 16, 24, 32, 52, 72, 150, 350}) {
    const rlim_t mib = least + more;
    CAPTURE(mib);
    last = run(ProcessSpec{
        .arguments = {"generate", "-m", kDemo, "-p", "x", "-n", "2", "-q", "--threads", "2"},
        .limits = {{RLIMIT_AS, mib << 20}}});
    if (last.code == 0) continue;
    check_failure(last, 4);
  }
  CHECK(last.code == 0);
}

TEST_CASE("cli limits: threads that the system does not give are an error of one line") {
  fails(ProcessSpec{.arguments = {"generate", "-m", kDemo, "-p", "x", "-q", "--threads", "1024"},
                    .limits = {{RLIMIT_AS, rlim_t{1000} << 20}}},
        4, {"cannot start", "threads", "--threads"});
}

TEST_CASE("cli limits: a long prompt takes no more memory than weights, arena and 64 MB") {
  std::string text;
  for (int i = 0; i < 2000; ++i) text += i % 13 == 0 ? "night " : "the ";
  const Finished done = succeed(ProcessSpec{
      .arguments = {"generate", "-m", kDemo, "-n", "8", "--json", "-q"}, .input = text});
  const OrderedJson json = json_of(done.out);
  CHECK(json["prompt_tokens"].get<int64_t>() >= 2000);
  const auto arena = json["memory"]["arena_high_water"].get<uint64_t>();  // the weights are in it
  CAPTURE(arena);
  CHECK(done.peak_bytes > arena / 2);
  CHECK(done.peak_bytes <= arena + 64000000);
}

TEST_CASE("cli limits: few file descriptors are enough, too few are an error of one line") {
  const Words run = {"generate", "-m", kDemo, "-p", "It was", "-n", "3", "-q"};
  const std::string text = succeed(run).out;
  CHECK(succeed(ProcessSpec{.arguments = run, .limits = {{RLIMIT_NOFILE, 8}}}).out == text);
  fails(ProcessSpec{.arguments = run, .limits = {{RLIMIT_NOFILE, 4}}}, 6, {"Too many open files"});
}

#endif

TEST_CASE("cli limits: a small stack is enough") {
  const Words run = {"generate", "-m", kDemo, "-p", "It was", "-n", "3", "-q"};
  const std::string text = succeed(run).out;
  const auto stack = rlim_t{256} << 10;
  CHECK(succeed(ProcessSpec{.arguments = run, .limits = {{RLIMIT_STACK, stack}}}).out == text);
}

}  // namespace winnow::test
