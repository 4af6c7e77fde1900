// A cache that changes after the first prompt: --then, --kv-reselect, --kv-recompact; and the
// options that change what a selection is.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/support/winnow_runs.h"

namespace winnow::test {
namespace {

constexpr int64_t kHeads = 16;  // 8 layers of 2 KV heads
constexpr int64_t kRowBytes = 2 * 64 * 4 + 8;

const std::string kText =
    "It was a dark night, and the captain said to the men that they should go on to the ship and "
    "wait there until the morning came and the sea was calm";
const std::string kThen = ". The old man looked at them and";
const Words kRun = {"generate", "-m", kDemo, "-p", kText, "-n", "16", "--ignore-eos"};

Words sage(const std::string& budget, const Words& more = {}) {
  return joined(joined(kRun, {"--kv-policy", "sage", "--kv-budget", budget}), more);
}

int64_t number(const OrderedJson& json, const char* object, const char* key) {
  return json[object][key].get<int64_t>();
}

int64_t rows_kept(const OrderedJson& json) {
  return number(json, "kv", "rows_kept");
}

/// Ascending positions, each head within `most` rows, the text's last token in each.
void check_kept(const KeptRun& run, int64_t most) {
  const int64_t n = run.kept["n_tokens"].get<int64_t>();
  CHECK(n == run.json["prompt_tokens"].get<int64_t>());
  for (const OrderedJson& layer : run.kept["layers"]) {
    for (const OrderedJson& head : layer["heads"]) {
      const auto positions = head["positions"].get<std::vector<int64_t>>();
      CHECK(static_cast<int64_t>(positions.size()) <= most);
      CHECK(std::ranges::adjacent_find(positions, std::greater_equal<>()) == positions.end());
      CHECK(positions.back() == n - 1);
    }
  }
}

}  // namespace

TEST_CASE("cli kv then: a second prompt is read after the first, and the text goes on from it") {
  const TinyDir tiny;
  // "x x" and "x" are the tokens of "x x x".
  const Words run = {"generate", "-m", tiny.name(), "-n", "8", "--ignore-eos", "-p"};
  const OrderedJson whole = json_result(joined(run, {text_of(9)}));
  const OrderedJson both = json_result(joined(run, {text_of(4), "--then", text_of(5)}));
  CHECK(both["prompt_tokens"] == 10);
  CHECK(both["timings"]["prompt_n"] == 10);
  CHECK(both["kv"]["rows_full"] == 10 * 4);
  CHECK(both["kv"]["rows_kept"] == 10 * 4);
  CHECK(both["tokens"] == whole["tokens"]);
  const OrderedJson first = json_result(joined(run, {text_of(4)}));
  CHECK(first["tokens"] != both["tokens"]);

  const std::string text = kText + kThen;
  Words demo = kRun;
  *std::ranges::find(demo, kText) = text;
  CHECK(succeed(joined(kRun, {"--then", kThen})).out == succeed(demo).out);
  const std::string echoed = succeed(joined(kRun, {"--then", kThen, "--echo"})).out;
  CHECK(echoed == succeed(joined(demo, {"--echo"})).out);
  CHECK(echoed.starts_with(text));
}

TEST_CASE("cli kv then: without --kv-reselect what was kept stays, and every new row joins it") {
  for (const char* policy : {"sage", "streaming", "random"}) {
    CAPTURE(policy);
    const Words run = joined(kRun, {"--kv-policy", policy, "--kv-budget", "16"});
    const KeptRun first = kept_run(run);
    const KeptRun both = kept_run(joined(run, {"--then", kThen}));
    const int64_t n_first = first.json["prompt_tokens"].get<int64_t>();
    const int64_t n_then = both.json["prompt_tokens"].get<int64_t>() - n_first;
    REQUIRE(n_then > 5);
    CHECK(rows_kept(both.json) == rows_kept(first.json) + n_then * kHeads);
    check_kept(both, 16 + n_then);
    for (size_t l = 0; l < 8; ++l) {
      for (size_t h = 0; h < 2; ++h) {
        auto positions = first.kept["layers"][l]["heads"][h]["positions"];
        for (int64_t i = 0; i < n_then; ++i) positions.push_back(n_first + i);
        CHECK(both.kept["layers"][l]["heads"][h]["positions"] == positions);
      }
    }
  }
}

TEST_CASE("cli kv then: with --kv-reselect old and new rows share the budget") {
  for (const char* policy : {"sage", "streaming", "random"}) {
    CAPTURE(policy);
    const Words run = joined(kRun, {"--kv-policy", policy, "--kv-budget", "16", "--then", kThen});
    const KeptRun before = kept_run(joined(kRun, {"--kv-policy", policy, "--kv-budget", "16"}));
    const KeptRun both = kept_run(joined(run, {"--kv-reselect"}));
    check_kept(both, 16);
    CHECK(rows_kept(both.json) <= 16 * kHeads);
    CHECK(both.json["timings"]["compact_ms"].get<double>() > 0);
    // A row that the first selection dropped is not there to come back.
    const int64_t n_first = before.kept["n_tokens"].get<int64_t>();
    for (size_t l = 0; l < 8; ++l) {
      for (size_t h = 0; h < 2; ++h) {
        const auto old = before.kept["layers"][l]["heads"][h]["positions"];
        for (const OrderedJson& position : both.kept["layers"][l]["heads"][h]["positions"]) {
          if (position.get<int64_t>() >= n_first) continue;
          CHECK(std::ranges::count(old, position) == 1);
        }
      }
    }
    CHECK(json_result(joined(run, {"--kv-reselect"}))["logits_hash"] == both.json["logits_hash"]);
  }
}

TEST_CASE("cli kv then: a first prompt that fits is winnowed with the second, if at all") {
  const Words fits = sage("36", {"--then", kThen});
  const OrderedJson kept = json_result(fits);
  CHECK(kept["kv"]["rows_kept"] == kept["kv"]["rows_full"]);
  CHECK(kept["logits_hash"] == json_result(joined(kRun, {"--then", kThen}))["logits_hash"]);
  const KeptRun winnowed = kept_run(joined(fits, {"--kv-reselect"}));
  check_kept(winnowed, 36);
  CHECK(rows_kept(winnowed.json) < rows_kept(kept));
}

TEST_CASE("cli kv then: a second text that is no UTF-8 is treated like a first one") {
  const Words run = joined(kRun, {"--then", "a \xff b"});
  const Finished done = succeed(joined(run, {"--json"}));
  CHECK(done.err.find("warning: --then: invalid UTF-8, first at byte 2") != std::string::npos);
  const Words replaced = joined(kRun, {"--then", "a \xef\xbf\xbd b"});
  CHECK(json_of(done.out)["logits_hash"] == json_result(replaced)["logits_hash"]);
  fails(joined(run, {"--strict-utf8"}), 6, {"--then: invalid UTF-8 at byte 2"});
}

TEST_CASE("cli kv then: --kv-recompact selects anew, and rows stay within the budget and a step") {
  const OrderedJson once = json_result(sage("16"));
  CHECK(json_result(sage("16", {"--kv-recompact", "0"}))["logits_hash"] == once["logits_hash"]);
  for (const int64_t every : {1, 4, 100}) {
    CAPTURE(every);
    const Words run = sage("16", {"--kv-recompact", std::to_string(every)});
    const KeptRun kept = kept_run(run);
    check_kept(kept, 16);
    CHECK(kept.json["logits_hash"] != once["logits_hash"]);
    CHECK(json_result(run)["logits_hash"] == kept.json["logits_hash"]);
    // Beside what is kept a selection holds one layer's rows and the old cache.
    const int64_t n = kept.json["prompt_tokens"].get<int64_t>();
    const int64_t head = 16 + std::min<int64_t>(every, 16) + 1;
    const int64_t most = std::max(16 * kHeads + 2 * n, 2 * head * kHeads + 2 * head);
    CHECK(number(kept.json, "kv", "bytes_peak") <= most * kRowBytes);
  }
}

TEST_CASE("cli kv then: --kv-recompact drops rows of a text that outgrows its budget later") {
  const OrderedJson kept = json_result(sage("40"));
  CHECK(kept["timings"]["compact_ms"] == 0.0);
  CHECK(kept["kv"]["footprint"] == 1.0);
  const OrderedJson again = json_result(sage("40", {"--kv-recompact", "4"}));
  CHECK(again["kv"]["rows_kept"] == again["kv"]["rows_full"]);  // right after the prompt
  CHECK(again["timings"]["compact_ms"].get<double>() > 0);
  CHECK(again["kv"]["footprint"].get<double>() < 1.0);
  CHECK(again["kv"]["peak_fraction"].get<double>() < 1.0);
  CHECK(again["logits_hash"] != kept["logits_hash"]);
}

TEST_CASE("cli kv then: --kv-positions cache counts places anew where rows were dropped") {
  const OrderedJson full = json_result(kRun);
  for (const char* policy : {"sage", "streaming", "random"}) {
    CAPTURE(policy);
    const auto run = [&](const char* budget, const char* positions) {
      return kept_run(joined(
          kRun, {"--kv-policy", policy, "--kv-budget", budget, "--kv-positions", positions}));
    };
    const KeptRun cache = run("16", "cache");
    const KeptRun original = run("16", "original");
    check_kept(cache, 16);
    // The prompt is read the same way: the places differ only for what comes after.
    CHECK(cache.kept == original.kept);
    CHECK(cache.json["kv"] == original.json["kv"]);
    CHECK(cache.json["logits_hash"] != original.json["logits_hash"]);
    CHECK(run("16", "cache").json["logits_hash"] == cache.json["logits_hash"]);
    CHECK(run("34", "cache").json["logits_hash"] == full["logits_hash"]);
  }
}

TEST_CASE("cli kv then: --kv-fill spends what shared rows save, and not more") {
  const KeptRun plain = kept_run(sage("16"));
  const KeptRun filled = kept_run(sage("16", {"--kv-fill"}));
  check_kept(filled, 16);
  CHECK(rows_kept(filled.json) > rows_kept(plain.json));
  CHECK(filled.json["kv"]["budget"] == 16);
  for (size_t i = 0; i < filled.rows().size(); ++i) CHECK(filled.rows()[i] >= plain.rows()[i]);
  // What a query head saw it sees again: its list has only grown.
  for (size_t l = 0; l < 8; ++l) {
    for (size_t h = 0; h < 2; ++h) {
      const OrderedJson& before = plain.kept["layers"][l]["heads"][h];
      const OrderedJson& after = filled.kept["layers"][l]["heads"][h];
      for (size_t i = 0; i < before["positions"].size(); ++i) {
        const auto at = std::ranges::find(after["positions"], before["positions"][i]);
        REQUIRE(at != after["positions"].end());
        const auto mask = before["masks"][i].get<uint32_t>();
        const size_t row = static_cast<size_t>(at - after["positions"].begin());
        CHECK((after["masks"][row].get<uint32_t>() & mask) == mask);
      }
    }
  }
}

TEST_CASE("cli kv then: --kv-group has one list of a KV head, which fills the budget") {
  const KeptRun head = kept_run(sage("16", {"--kv-group", "head"}));
  CHECK(head.kept == kept_run(sage("16")).kept);
  for (const char* group : {"mean", "max", "sum"}) {
    CAPTURE(group);
    const KeptRun run = kept_run(sage("16", {"--kv-group", group}));
    check_kept(run, 16);
    for (const int64_t rows : run.rows()) CHECK(rows == 16);
    CHECK(run.kept != head.kept);
    const std::string err = succeed(sage("16", {"--kv-group", group})).err;
    CHECK(err.find("budget  16 rows a head: 4 first, 6 last, 6 between") != std::string::npos);
  }
}

TEST_CASE("cli kv then: the options go together") {
  const Words all = sage(
      "20", {"--kv-sink", "3", "--kv-recent", "5", "--kv-fill", "--kv-recompact", "3",
             "--kv-reselect", "--kv-positions", "cache", "--then", kThen, "--prefill-rows", "5"});
  const KeptRun run = kept_run(all);
  check_kept(run, 20);
  for (const OrderedJson& layer : run.kept["layers"]) {
    for (const OrderedJson& head : layer["heads"]) {
      for (size_t i = 0; i < 3; ++i) CHECK(head["positions"][i] == i);
    }
  }
  CHECK(run.json["tokens"].size() == 16);
  CHECK(kept_run(all).kept == run.kept);
  CHECK(json_result(all)["logits_hash"] == run.json["logits_hash"]);
}

}  // namespace winnow::test
