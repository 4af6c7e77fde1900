// Signals while the binary runs: it stops at the next step, and what it wrote until then is whole.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "src/base/utf8.h"
#include "tests/support/spm_model.h"
#include "tests/support/winnow_runs.h"

namespace winnow::test {
namespace {

/// Decodes for minutes.
const Words kEndless = {"generate", "-m", kDemo, "-p", "It was", "-n", "-1", "--ignore-eos"};

/// A run over a long prompt: a second or more of prefill, told in tenths.
ProcessSpec long_prefill(const Words& more = {}) {
  std::string prompt;
  for (int i = 0; i < 6000; ++i) prompt += i % 2 == 0 ? "the " : "night ";
  return {.arguments = joined({"generate", "-m", kDemo, "-n", "8", "--progress", "always"}, more),
          .input = prompt};
}

void check_interrupted_json(const OrderedJson& json) {
  CHECK(json["stop_reason"] == "interrupt");
  CHECK(json["tokens"].is_array());
  CHECK(json["text"].is_string());
}

/// A model of half a gigabyte of zeros, which take no room on the disk.
void write_large_model(const std::filesystem::path& dir) {
  const std::pair<const char*, std::vector<uint64_t>> tensors[] = {
      {"model.embed_tokens.weight", {300, 4096}},
      {"model.norm.weight", {4096}},
      {"model.layers.0.input_layernorm.weight", {4096}},
      {"model.layers.0.self_attn.q_proj.weight", {4096, 4096}},
      {"model.layers.0.self_attn.k_proj.weight", {4096, 4096}},
      {"model.layers.0.self_attn.v_proj.weight", {4096, 4096}},
      {"model.layers.0.self_attn.o_proj.weight", {4096, 4096}},
      {"model.layers.0.post_attention_layernorm.weight", {4096}},
      {"model.layers.0.mlp.gate_proj.weight", {16000, 4096}},
      {"model.layers.0.mlp.up_proj.weight", {16000, 4096}},
      {"model.layers.0.mlp.down_proj.weight", {4096, 16000}}};
  std::string header;
  uint64_t end = 0;
  for (const auto& [name, shape] : tensors) {
    const uint64_t begin = end;
    end += 2 * shape[0] * (shape.size() == 2 ? shape[1] : 1);
    header += (header.empty() ? "{\"" : ",\"") + std::string(name) +
              "\":{\"dtype\":\"BF16\",\"shape\":" + shape_json(shape) + ",\"data_offsets\":[" +
              std::to_string(begin) + "," + std::to_string(end) + "]}";
  }
  const std::string bytes = safetensors_bytes(header + "}", "");
  write_file(dir / "model.safetensors", bytes);
  std::filesystem::resize_file(dir / "model.safetensors", bytes.size() + end);
  const TinyModel shape{.hidden_size = 4096,
                        .intermediate_size = 16000,
                        .n_layers = 1,
                        .n_heads = 32,
                        .n_kv_heads = 32,
                        .head_dim = 128,
                        .vocab_size = 300,
                        .max_positions = 100000,
                        .tied = true};
  write_file(dir / "config.json", tiny_config_json(shape));
  write_file(dir / "tokenizer.model", serialize_spm_file(small_spm({"x"})));
}

/// What is left of stderr without lines of progress.
Finished without_progress(Finished run) {
  const Words lines = lines_of(run.err);
  run.err.clear();
  for (const std::string& line : lines) {
    if (line.find(" %") == std::string::npos) run.err += line + "\n";
  }
  return run;
}

/// Waits until the process can write no more to its stdout.
void wait_until_stuck(Process& process) {
  int seen = -1;
  int same = 0;
  REQUIRE(process.wait_until([&] {
    const int waiting = process.unread(1);
    same = waiting == seen && waiting > 0 ? same + 1 : 0;
    seen = waiting;
    return same > 40;
  }));
}

}  // namespace

TEST_CASE("cli signals: SIGINT and SIGTERM in decode end the text where it is") {
  for (const auto& [signal, code] : {std::pair{SIGINT, 130}, std::pair{SIGTERM, 143}}) {
    Process process({.arguments = kEndless});
    REQUIRE(process.wait_until([&] { return process.so_far().out.size() > 50; }));
    process.send(signal);
    const Finished run = process.wait();
    CHECK(run.code == code);
    CHECK(utf8_find_invalid(run.out) == std::string::npos);
    CHECK(run.err.find("ended by interrupt") != std::string::npos);
  }
}

TEST_CASE("cli signals: an interrupted --jsonl run is whole lines and ends with done") {
  Process process({.arguments = joined(kEndless, {"--jsonl", "-q"})});
  REQUIRE(process.wait_for_output("\n"));
  process.send(SIGINT);
  const Finished run = process.wait();
  CHECK(run.code == 130);
  CHECK(run.err.empty());
  const Words lines = lines_of(run.out);
  std::string text;
  for (size_t i = 0; i + 1 < lines.size(); ++i) text += json_of(lines[i])["text"];
  const OrderedJson done = json_of(lines.back());
  check_interrupted_json(done);
  CHECK(done["type"] == "done");
  CHECK(done["text"] == text);
}

TEST_CASE("cli signals: an interrupted --json run is one whole object") {
  Process process({.arguments = joined(kEndless, {"--json", "--progress", "always"})});
  REQUIRE(process.wait_for_error("prefill  100 %"));
  usleep(50000);
  process.send(SIGINT);
  const Finished run = process.wait();
  CHECK(run.code == 130);
  check_interrupted_json(json_of(run.out));
}

TEST_CASE("cli signals: characters stay whole at an interrupt") {
  const TinyDir tiny({.max_positions = 1000000});
  Process process({.arguments = {"generate", "-m", tiny.name(), "-p", "x", "-n", "-1", "--temp",
                                 "2", "--seed", "1", "--ignore-eos", "-c", "100000"}});
  REQUIRE(process.wait_until([&] { return process.so_far().out.size() > 200; }));
  process.send(SIGINT);
  const Finished run = process.wait();
  CHECK(run.code == 130);
  CHECK(utf8_find_invalid(run.out) == std::string::npos);
}

TEST_CASE("cli signals: SIGINT in prefill ends it between two chunks") {
  for (const Words& more : {Words{}, Words{"--json"}, Words{"--jsonl"}, Words{"--echo"}}) {
    Process process(long_prefill(more));
    REQUIRE(process.wait_for_error("prefill  "));
    process.send(SIGINT);
    const Finished run = process.wait(20);
    CHECK(run.code == 130);
    CHECK(run.err.find("prefill  9") == std::string::npos);
    if (more.empty()) CHECK(run.out.empty());
    if (!more.empty() && more[0] != "--echo") {
      const OrderedJson json = json_of(lines_of(run.out).back());
      check_interrupted_json(json);
      CHECK(json["tokens"].empty());
      CHECK(json["prompt_tokens"].get<int64_t>() >= 6000);
    }
  }
}

TEST_CASE("cli signals: SIGINT and SIGTERM while weights are loaded or checked") {
  const TempDir dir;
  write_large_model(dir.path());
  const Words load = {"generate", "-m", dir.path().string(), "-p", "x", "-n", "100000"};
  const Words check = {"check", "-m", dir.path().string()};
  for (const auto& [signal, code] : {std::pair{SIGINT, 130}, std::pair{SIGTERM, 143}}) {
    for (const Words& words : {load, check}) {
      Process process({.arguments = joined(words, {"--progress", "always"})});
      REQUIRE(process.wait_for_error("ing  "));
      process.send(signal);
      const Finished run = process.wait(20);
      CHECK(run.code == code);
      const char* what = signal == SIGINT ? "winnow: interrupted\n" : "winnow: terminated\n";
      const bool stopped_there = run.err.ends_with(what);
      CHECK((stopped_there || run.err.find("ended by interrupt") != std::string::npos));
      if (stopped_there) CHECK(run.out.empty());
    }
  }
}

TEST_CASE("cli signals: SIGINT and SIGTERM while stdin is waited for") {
  for (const auto& [signal, code] : {std::pair{SIGINT, 130}, std::pair{SIGTERM, 143}}) {
    Process process(
        {.arguments = {"generate", "-m", kDemo}, .input = "It was", .keep_input_open = true});
    REQUIRE(process.wait_until([&] { return process.input_is_read(); }));
    process.send(signal);
    check_failure(process.wait(20), code);
  }
}

TEST_CASE("cli signals: SIGINT in the other commands") {
  const TempDir dir;
  const std::string npy = (dir / "out.npy").string();
  ProcessSpec logits = long_prefill();
  logits.arguments = {"logits", "-m", kDemo, "-o", npy, "--progress", "always"};
  Process process(logits);
  REQUIRE(process.wait_for_error("prefill  "));
  process.send(SIGINT);
  check_failure(without_progress(process.wait(20)), 130, {"interrupted"});
  CHECK(std::filesystem::is_empty(dir.path()));  // no half of a file

  Process bench({.arguments = {"bench", "-m", kDemo, "-p", "0", "-n", "5000", "-r", "1000",
                               "--progress", "always"}});
  REQUIRE(bench.wait_for_error("loading  100 %"));
  bench.send(SIGTERM);
  CHECK(bench.wait(20).code == 143);
}

TEST_CASE("cli signals: a reader that stands still loses nothing when the run is interrupted") {
  Process process({.arguments = joined(kEndless, {"--jsonl", "-q"}), .pipe_bytes = 4096});
  process.read_output(false);
  wait_until_stuck(process);
  process.send(SIGINT);
  usleep(100000);
  CHECK(process.state() != 'Z');
  process.read_output(true);
  const Finished run = process.wait();
  CHECK(run.code == 130);
  const Words lines = lines_of(run.out);
  for (const std::string& line : lines) json_of(line);
  check_interrupted_json(json_of(lines.back()));
}

TEST_CASE("cli signals: a second signal ends a run that cannot stop by itself") {
  for (const auto& [second, code] : {std::pair{SIGINT, 130}, std::pair{SIGTERM, 143}}) {
    Process process({.arguments = joined(kEndless, {"--jsonl", "-q"}), .pipe_bytes = 4096});
    process.read_output(false);
    wait_until_stuck(process);
    process.send(SIGINT);
    usleep(100000);
    process.send(second);
    REQUIRE(process.wait_until([&] { return process.ended(); }, 20));
    CHECK(process.wait().code == code);
  }
}

TEST_CASE("cli signals: two signals at once end the run with their code") {
  Process process(long_prefill());
  REQUIRE(process.wait_for_error("prefill  "));
  process.send(SIGINT);
  process.send(SIGINT);
  CHECK(process.wait(20).code == 130);
}

TEST_CASE("cli signals: a run that was stopped goes on where it was") {
  const Words run = {"generate", "-m", kDemo, "-p", "It was", "-n", "200", "--ignore-eos"};
  const std::string text = succeed(run).out;
  Process process({.arguments = run});
  REQUIRE(process.wait_until([&] { return process.so_far().out.size() > 20; }));
  process.send(SIGTSTP);
  REQUIRE(process.wait_until([&] { return process.state() == 'T'; }));
  const size_t written = process.so_far().out.size();
  usleep(200000);
  CHECK(process.so_far().out.size() == written);
  process.send(SIGCONT);
  const Finished done = process.wait();
  CHECK(done.code == 0);
  CHECK(done.out == text);
}

TEST_CASE("cli signals: input that is stopped and continued is read to its end") {
  Process process({.arguments = {"generate", "-m", kDemo, "-n", "3", "-q"},
                   .input = "It was",
                   .keep_input_open = true});
  process.wait_until([&] { return process.state() == 'S'; }, 5);
  process.send(SIGTSTP);
  process.wait_until([&] { return process.state() == 'T'; }, 5);
  process.send(SIGCONT);
  usleep(50000);
  process.end_input();
  const Finished done = process.wait();
  CHECK(done.code == 0);
  CHECK(done.out == succeed({"generate", "-m", kDemo, "-n", "3", "-q", "-p", "It was"}).out);
}

TEST_CASE("cli signals: an interrupt on a terminal leaves no progress line behind") {
  ProcessSpec spec = long_prefill({"-q"});
  spec.streams[2] = {Stream::kTerminal};
  spec.environment["TERM"] = "xterm";
  Process process(spec);
  REQUIRE(process.wait_until(
      [&] { return process.so_far().terminal.find("prefill") != std::string::npos; }));
  process.send(SIGINT);
  const Finished run = process.wait(20);
  CHECK(run.code == 130);
  const size_t last_bar = run.terminal.rfind("prefill  ");
  CHECK(run.terminal.find("\x1b[K", last_bar) != std::string::npos);
}

}  // namespace winnow::test
