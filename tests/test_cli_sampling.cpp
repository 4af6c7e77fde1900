// generate: what generation_config.json says about drawing, against the user's flags.
#include <doctest/doctest.h>

#include <string>

#include "tests/support/winnow_runs.h"

using namespace winnow::test;

namespace {

constexpr const char* kDraws = R"({"do_sample":true,"temperature":0.9,"top_k":7})";

Words generate_with(const TinyDir& tiny, const Words& more) {
  return joined({"generate", "-m", tiny.name(), "-p", "x x", "-n", "12", "--ignore-eos"}, more);
}

OrderedJson tokens_of(const TinyDir& tiny, const Words& more = {}) {
  return json_result(generate_with(tiny, more))["tokens"];
}

}  // namespace

TEST_CASE("generate draws as generation_config.json says, and as flags say first") {
  const TinyDir plain;
  const TinyDir drawing;
  write_file(drawing / "generation_config.json", kDraws);
  const OrderedJson greedy = tokens_of(plain);
  const Words seed = {"--seed", "5"};
  const OrderedJson drawn = tokens_of(drawing, seed);
  CHECK(drawn != greedy);
  CHECK(drawn == tokens_of(plain, joined(seed, {"--temp", "0.9", "--top-k", "7"})));
  CHECK(tokens_of(drawing, {"--temp", "0"}) == greedy);
  CHECK(tokens_of(drawing, joined(seed, {"--top-k", "1"})) == greedy);
  write_file(drawing / "generation_config.json", R"({"temperature":0.9,"top_k":7})");
  CHECK(tokens_of(drawing) == greedy);  // without do_sample, as in transformers
}

TEST_CASE("generate says on stderr what it took from generation_config.json") {
  const TinyDir tiny;
  const auto said = [&](const Words& more) { return succeed(generate_with(tiny, more)).err; };
  CHECK(said({}).find("sampler") == std::string::npos);
  write_file(tiny / "generation_config.json", kDraws);
  const std::string all = said({});
  CHECK(all.find("sampler temperature 0.9, top-k 7 (generation_config.json)\n") !=
        std::string::npos);
  CHECK(all.find("seed    ") != std::string::npos);
  const std::string some = said({"--temp", "0.5", "--seed", "1"});
  CHECK(some.find("sampler top-k 7 (generation_config.json)\n") != std::string::npos);
  CHECK(said({"--temp", "0"}).find("sampler") == std::string::npos);
  CHECK(said({"-q", "--seed", "1"}).empty());
}

TEST_CASE("a malformed generation_config.json is refused by its key, in one line") {
  const TinyDir tiny;
  write_file(tiny / "generation_config.json", R"({"do_sample":true,"top_p":7})");
  const Finished run = winnow::test::run(ProcessSpec{.arguments = generate_with(tiny, {})});
  CHECK(run.code == 3);
  CHECK(run.out.empty());
  CHECK(lines_of(run.err).size() == 1);
  CHECK(run.err.find("generation_config.json: top_p is 7") != std::string::npos);
}

TEST_CASE("generate refuses places in the cache where frequencies grow with the text") {
  TinyModel model;
  model.rope = R"({"rope_type":"dynamic","factor":2.0})";
  const TinyDir tiny(model);
  const Words kept = {"--kv-policy", "sage", "--kv-budget", "16", "--kv-positions", "cache"};
  const Finished run = winnow::test::run(ProcessSpec{.arguments = generate_with(tiny, kept)});
  CHECK(run.code == 2);
  CHECK(run.err.find("--kv-positions cache does not go with rope_type 'dynamic'") !=
        std::string::npos);
}
