// generate: what goes to stdout, in each of the formats.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "src/base/utf8.h"
#include "tests/support/winnow_runs.h"

namespace winnow::test {
namespace {

const Words kRun = {"generate", "-m", kDemo, "-p", "It was a dark night, and", "-n", "12"};

std::string text_of_run(const Words& more = {}) {
  return succeed(joined(kRun, more)).out;
}

/// "key:type" for every key of `json`, in its order; those of objects with the object's name.
Words schema(const OrderedJson& json, const std::string& prefix = "") {
  Words keys;
  for (const auto& [key, value] : json.items()) {
    if (value.is_object()) {
      keys = joined(keys, schema(value, prefix + key + "."));
    } else {
      const char* type = value.is_number_float() ? "real" : value.type_name();
      keys.push_back(prefix + key + ":" + type);
    }
  }
  return keys;
}

const Words kGenerateSchema = {"text:string",
                               "tokens:array",
                               "prompt_tokens:number",
                               "stop_reason:string",
                               "timings.load_ms:real",
                               "timings.prompt_n:number",
                               "timings.prompt_ms:real",
                               "timings.prompt_per_second:real",
                               "timings.compact_ms:real",
                               "timings.predicted_n:number",
                               "timings.predicted_ms:real",
                               "timings.predicted_per_second:real",
                               "kv.policy:string",
                               "kv.budget:null",
                               "kv.rows_full:number",
                               "kv.rows_kept:number",
                               "kv.rows_shared:number",
                               "kv.bytes_full:number",
                               "kv.bytes_kept:number",
                               "kv.bytes_peak:number",
                               "kv.footprint:real",
                               "kv.peak_fraction:real",
                               "kv.occupancy:real",
                               "memory.arena_high_water:number",
                               "memory.arena_committed:number",
                               "device:string",
                               "seed:number",
                               "logits_hash:string"};

struct StreamedRun {
  std::string text;  // of the lines, joined
  std::vector<int32_t> tokens;
  std::string last_line;

  OrderedJson done() const { return json_of(last_line); }
};

StreamedRun read_jsonl(const std::string& out) {
  StreamedRun run;
  const Words lines = lines_of(out);
  REQUIRE_FALSE(lines.empty());
  for (const std::string& line : lines) {
    const OrderedJson json = json_of(line);
    const auto type = json["type"].get<std::string>();
    if (type == "done") {
      CHECK(&line == &lines.back());
      run.last_line = line;
      continue;
    }
    run.text += json["text"].get<std::string>();
    if (type == "token") run.tokens.push_back(json["id"].get<int32_t>());
  }
  REQUIRE_FALSE(run.last_line.empty());
  return run;
}

}  // namespace

TEST_CASE("cli generate: stdout is the text alone, the same with any verbosity and in a file") {
  const std::string text = text_of_run();
  CHECK(text.size() > 20);
  CHECK(utf8_find_invalid(text) == std::string::npos);
  const Words verbosities[] = {{"-q"},
                               {"-v"},
                               {"-vv"},
                               {"--progress", "always"},
                               {"--color", "always"},
                               {"-o", "-"},
                               {"--format", "text"}};
  for (const Words& more : verbosities) CHECK(text_of_run(more) == text);

  const TempDir dir;
  const std::string file = (dir / "out.txt").string();
  write_file(file, "something longer that was here before: " + std::string(1000, '.'));
  const Finished to_file = succeed(joined(kRun, {"-o", file}));
  CHECK(to_file.out.empty());
  CHECK(read_file(file) == text);
}

TEST_CASE("cli generate: the summary is on stderr, and -q leaves it out") {
  const Finished loud = succeed(kRun);
  for (const char* word : {"load", "prefill", "decode", "ended by length", "rows kept"}) {
    CHECK(loud.err.find(word) != std::string::npos);
  }
  CHECK(succeed(joined(kRun, {"-q"})).err.empty());
}

TEST_CASE("cli generate: --json is one line with the documented keys and types") {
  const Finished run = succeed(joined(kRun, {"--json"}));
  CHECK(std::ranges::count(run.out, '\n') == 1);
  CHECK(run.out.ends_with('\n'));
  const OrderedJson json = json_of(run.out);
  CHECK(schema(json) == kGenerateSchema);
  CHECK(json["text"] == text_of_run());
  CHECK(json["tokens"].size() == 12);
  CHECK(json["timings"]["predicted_n"] == 12);
  CHECK(json["timings"]["prompt_n"] == json["prompt_tokens"]);
  CHECK(json["stop_reason"] == "length");
  CHECK(json["logits_hash"].get<std::string>().size() == 16);
  for (const char* key : {"load_ms", "prompt_ms", "predicted_ms", "prompt_per_second"}) {
    CHECK(json["timings"][key].get<double>() > 0);
  }
}

TEST_CASE("cli generate: --json counts the rows and bytes of the cache") {
  const OrderedJson json = json_result(kRun);
  const int64_t rows = json["prompt_tokens"].get<int64_t>() * 8 * 2;  // layers, KV heads
  const int64_t row_bytes = 2 * 64 * 4 + 8;  // K and V in fp32, position, mask
  const OrderedJson& kv = json["kv"];
  CHECK(kv["policy"] == "full");
  CHECK(kv["rows_full"] == rows);
  CHECK(kv["rows_kept"] == rows);
  CHECK(kv["bytes_full"] == rows * row_bytes);
  CHECK(kv["bytes_kept"] == rows * row_bytes);
  CHECK(kv["bytes_peak"] == (rows + 11 * 16) * row_bytes);  // the last token needs no row
  CHECK(kv["footprint"] == 1.0);
  CHECK(kv["peak_fraction"] == 1.0);
  CHECK(kv["occupancy"].get<double>() <= 1.0);
  const OrderedJson& memory = json["memory"];
  CHECK(memory["arena_high_water"].get<int64_t>() >= memory["arena_committed"].get<int64_t>());
  CHECK(memory["arena_committed"].get<int64_t>() > 25 << 20);  // the weights
}

TEST_CASE("cli generate: --jsonl streams the tokens, and their texts make up the text") {
  const OrderedJson whole = json_result(kRun);
  const StreamedRun run = read_jsonl(text_of_run({"--jsonl", "-q"}));
  CHECK(run.text == whole["text"].get<std::string>());
  CHECK(run.tokens == whole["tokens"].get<std::vector<int32_t>>());
  CHECK(run.done()["type"] == "done");
  Words keys = {"type:string"};
  CHECK(schema(run.done()) == joined(keys, kGenerateSchema));
  CHECK(run.done()["text"] == whole["text"]);
  CHECK(run.done()["logits_hash"] == whole["logits_hash"]);
}

TEST_CASE("cli generate: characters split over tokens arrive whole, in every format") {
  const TinyDir tiny;
  for (const char* seed : {"1", "2", "3"}) {
    const Words run = {"generate", "-m",     tiny.name(), "-p",     "a b", "-n",
                       "60",       "--temp", "2",         "--seed", seed};
    const std::string text = succeed(run).out;
    CHECK(utf8_find_invalid(text) == std::string::npos);
    CHECK(text.find("\xef\xbf\xbd") != std::string::npos);  // random bytes make no characters
    CHECK(json_result(run)["text"] == text);
    CHECK(read_jsonl(succeed(joined(run, {"--jsonl"})).out).text == text);
  }
}

TEST_CASE("cli generate: --echo puts the prompt in front of the text") {
  const std::string echoed = "It was a dark night, and" + text_of_run();
  CHECK(text_of_run({"--echo"}) == echoed);
  CHECK(json_result(joined(kRun, {"--echo"}))["text"] == echoed);
  const StreamedRun run = read_jsonl(text_of_run({"--echo", "--jsonl"}));
  CHECK(run.text == echoed);
  CHECK(run.done()["text"] == echoed);
}

TEST_CASE("cli generate: --logprobs lists the drawn token and the likeliest others") {
  const OrderedJson json = json_result(joined(kRun, {"--logprobs", "3"}));
  const OrderedJson& logprobs = json["logprobs"];
  REQUIRE(logprobs.size() == 12);
  for (size_t i = 0; i < logprobs.size(); ++i) {
    const OrderedJson& token = logprobs[i];
    CHECK(token["id"] == json["tokens"][i]);
    CHECK(token["logprob"].get<double>() <= 0);
    REQUIRE(token["top"].size() == 3);
    CHECK(token["top"][0]["id"] == token["id"]);  // greedy
    CHECK(token["top"][0]["logprob"] == token["logprob"]);
    CHECK(token["top"][0]["logprob"] >= token["top"][1]["logprob"]);
    CHECK(token["top"][1]["logprob"] >= token["top"][2]["logprob"]);
    CHECK(token["top"][2]["piece"].is_string());
  }
  const OrderedJson none = json_result(joined(kRun, {"--logprobs", "0"}));
  CHECK(none["logprobs"][0]["top"].empty());
  CHECK_FALSE(json_result(kRun).contains("logprobs"));

  for (const std::string& line : lines_of(text_of_run({"--logprobs", "2", "--jsonl", "-q"}))) {
    const OrderedJson token = json_of(line);
    if (token["type"] == "token") CHECK(token["logprobs"]["top"].size() == 2);
  }
}

TEST_CASE("cli generate: a stop string ends the text before it, also where tokens split it") {
  const std::string text = text_of_run();
  for (const size_t at : {size_t{1}, size_t{5}, size_t{12}}) {
    for (const size_t length : {size_t{1}, size_t{4}, size_t{9}}) {
      const std::string stop = text.substr(at, length);
      CAPTURE(stop);
      const std::string before = text.substr(0, text.find(stop));
      CHECK(text_of_run({"--stop", stop}) == before);
      CHECK(text_of_run({"--stop", "never in it", "--stop", stop}) == before);
    }
  }
  const std::string stop = text.substr(8, 6);
  const OrderedJson json = json_result(joined(kRun, {"--stop", stop}));
  CHECK(json["stop_reason"] == "stop");
  CHECK(json["text"] == text.substr(0, text.find(stop)));
  const StreamedRun run = read_jsonl(text_of_run({"--jsonl", "--stop", stop}));
  CHECK(run.text == json["text"].get<std::string>());
  CHECK(run.done()["stop_reason"] == "stop");
}

TEST_CASE("cli generate: text held back for a stop string that never comes is written at the end") {
  const std::string text = text_of_run();
  const std::string half = text.substr(text.size() - 3) + "and more that does not come";
  CHECK(text_of_run({"--stop", half}) == text);
  CHECK(read_jsonl(text_of_run({"--jsonl", "--stop", half})).text == text);
}

TEST_CASE("cli generate: an end-of-text token ends the text and is no part of it") {
  const TinyDir plain;
  const Words run = {"generate", "-p", "x", "-n", "20", "-m"};
  const OrderedJson all = json_result(joined(run, {plain.name()}));
  REQUIRE(all["tokens"].size() == 20);
  // Its third token becomes the end of the text, unless it came before.
  const std::string end = all["tokens"][2].dump();
  size_t first = 0;
  while (all["tokens"][first] != all["tokens"][2]) ++first;

  const TinyDir ending({}, R"(,"eos_token_id":[2,)" + end + "]");
  const OrderedJson ended = json_result(joined(run, {ending.name()}));
  CHECK(ended["stop_reason"] == "eos");
  CHECK(ended["tokens"].size() == first);
  const OrderedJson ignored = json_result(joined(run, {ending.name(), "--ignore-eos"}));
  CHECK(ignored["stop_reason"] == "length");
  CHECK(ignored["tokens"] == all["tokens"]);
}

TEST_CASE("cli generate: two greedy runs are the same, to the last bit of the logits") {
  const OrderedJson first = json_result(kRun);
  for (const Words& more : {Words{}, Words{"--threads", "1"}, Words{"--threads", "2"},
                            Words{"--threads", "5"}, Words{"--device", "cpu"}}) {
    const OrderedJson again = json_result(joined(kRun, more));
    CHECK(again["logits_hash"] == first["logits_hash"]);
    CHECK(again["tokens"] == first["tokens"]);
  }
}

TEST_CASE("cli generate: --prefill-rows changes nothing about the text") {
  const std::string text = text_of_run();
  for (const char* rows : {"1", "2", "3", "7", "8", "100", "2147483647"}) {
    CAPTURE(rows);
    CHECK(text_of_run({"--prefill-rows", rows}) == text);
  }
}

TEST_CASE("cli generate: a seed gives the same text again, and other seeds give others") {
  const Words hot = joined(kRun, {"--temp", "1.5"});
  const OrderedJson first = json_result(joined(hot, {"--seed", "7"}));
  CHECK(first["seed"] == 7);
  CHECK(json_result(joined(hot, {"--seed", "7"}))["tokens"] == first["tokens"]);
  CHECK(json_result(joined(hot, {"--seed", "8"}))["tokens"] != first["tokens"]);
  const OrderedJson largest = json_result(joined(hot, {"--seed", "18446744073709551615"}));
  CHECK(largest["seed"] == 18446744073709551615U);
}

TEST_CASE("cli generate: a seed that was drawn is told, and repeats the text") {
  const Words hot = joined(kRun, {"--temp", "1.5", "--top-k", "50", "--top-p", "0.95"});
  const Finished drawn = succeed(hot);
  std::string seed;
  for (const std::string& line : lines_of(drawn.err)) {
    if (line.starts_with("seed")) seed = line.substr(line.find_last_of(' ') + 1);
  }
  REQUIRE_FALSE(seed.empty());
  CHECK(succeed(joined(hot, {"--seed", seed})).out == drawn.out);
  CHECK(json_result(hot)["seed"] != json_result(hot)["seed"]);
}

}  // namespace winnow::test
