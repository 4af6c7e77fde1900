// What observers of a run are told: spans in order and inside each other, and steps that are the
// real ones.
#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "src/base/error.h"
#include "src/watch/kernel_name.h"
#include "src/watch/watched_device.h"
#include "tests/support/loaded_model.h"

using namespace winnow;
using namespace winnow::test;

namespace {

/// "prefill( layer 0( qkv() ) )", with numbers where there are any.
class Script final : public Observer {
 public:
  void begin(const Span& span) override {
    text += span.name;
    const bool numbered = span.kind == SpanKind::kToken || span.kind == SpanKind::kLayer;
    if (numbered) text += " " + std::to_string(span.number);
    text += "( ";
    if (span.kind == SpanKind::kStep) phases += std::string(phase_name(span.phase)) + " ";
    if (fails_at == span.name) fail(ExitCode::kIo, "no more");
  }
  void end(const Span& span) override {
    text += ") ";
    if (span.kind == SpanKind::kStep && span.step == nullptr) ++n_failed;
  }

  std::string text;
  std::string phases;
  std::string fails_at;
  int n_failed = 0;
};

struct WatchedRun {
  explicit WatchedRun(const KvSettings& kv = {}) : script(std::make_shared<Script>()) {
    const TempDir dir;
    write_tiny_model(dir.path(), TinyModel{.n_layers = 2});
    const ModelFiles files = open_network(dir.path());
    auto device =
        std::make_unique<WatchedDevice>(make_cpu_device(files.config, 1), Observers{script});
    watched = device.get();
    model.emplace(load_model(files, std::move(device), roomy_shape(64), {}));
    sequence.emplace(model->network(), SequenceOptions{.capacity = 40, .kv = kv});
  }

  std::string take() { return std::exchange(script->text, {}); }

  std::shared_ptr<Script> script;
  WatchedDevice* watched = nullptr;
  std::optional<Model> model;
  std::optional<Sequence> sequence;
};

const std::string kLayer = "qkv( ) attention( ) attention_output( ) gate_up( ) down( ) ";
const std::string kLayers = "layer 0( " + kLayer + ") layer 1( " + kLayer + ") ";

}  // namespace

TEST_CASE("watch: a prompt is a phase of its layers' steps, and each token a span of its own") {
  WatchedRun run;
  CHECK(run.take() == "load( ) ");
  const std::vector<int32_t> prompt = {1, 2, 3};
  run.sequence->prefill(prompt);
  run.sequence->wait();
  CHECK(run.take() == "prefill( embed( ) " + kLayers + "logits( ) ) ");
  run.sequence->sample(32, {});
  run.sequence->decode();
  run.sequence->sample(32, {});
  run.sequence->decode();
  run.watched->watch().close();
  const std::string token = "embed( ) " + kLayers + "logits( ) advance( ) ) ";
  CHECK(run.take() == "decode( sample( ) token 1( " + token + "sample( ) token 2( " + token + ") ");
}

TEST_CASE("watch: the chunks of a layer are one layer, and the numbers begin anew with a prompt") {
  WatchedRun run;
  Sequence chunked(run.model->network(), SequenceOptions{.capacity = 20, .prefill_rows = 2});
  run.take();
  const std::vector<int32_t> prompt = {1, 2, 3};
  for (int i = 0; i < 2; ++i) {
    chunked.prefill(prompt);
    chunked.wait();
    CHECK(run.take() == "prefill( embed( ) layer 0( " + kLayer + kLayer + ") layer 1( " + kLayer +
                            kLayer + ") logits( ) ) ");
    chunked.sample(32, {});
    chunked.decode();
    CHECK(run.take().starts_with("decode( sample( ) token 1( embed( ) layer 0("));
    run.watched->watch().close();
    run.take();
  }
}

TEST_CASE("watch: what drops rows is a part of its layer; a row that selects is a token") {
  KvSettings kv;
  kv.policy = make_policy("streaming");
  kv.budget = 6;
  kv.shares = {.sink = 2, .k = 0, .recent = 4};
  kv.recompact = 2;
  WatchedRun run(kv);
  run.take();
  run.script->phases.clear();
  const std::vector<int32_t> prompt = {1, 2, 3, 4, 5, 6, 7, 8};
  run.sequence->prefill(prompt);
  run.sequence->wait();
  const std::string compact = "compact( list_kept( ) gather_rows( ) ) ";
  const std::string layers =
      "layer 0( " + kLayer + compact + ") layer 1( " + kLayer + compact + ") ";
  CHECK(run.take() == "prefill( embed( ) layer 0( " + kLayer + compact + ") layer 1( " + kLayer +
                          compact + ") logits( ) ) ");
  CHECK(run.script->phases.starts_with(
      "prefill prefill prefill prefill prefill prefill compact compact prefill "));
  run.sequence->sample(32, {});
  run.sequence->decode();
  run.sequence->sample(32, {});
  run.take();
  run.sequence->decode();  // gathers the old rows of each layer first
  const std::string old = "compact( gather_rows( ) ) ";
  CHECK(run.take() == "token 2( embed( ) layer 0( " + old + kLayer + compact + ") layer 1( " + old +
                          kLayer + compact + ") logits( ) ");
}

TEST_CASE("watch: nothing is told while nobody shall hear it, and what ran is the same") {
  WatchedRun run;
  WatchedRun other;
  run.take();
  const std::vector<int32_t> prompt = {1, 2, 3};
  {
    const Unwatched unwatched(run.watched);
    run.sequence->prefill(prompt);
    run.sequence->decode();
    CHECK(run.take().empty());
  }
  const Unwatched none(nullptr);
  run.sequence->decode();
  CHECK(run.take().starts_with("decode( token 1( embed( "));
  other.sequence->prefill(prompt);
  other.sequence->decode();
  other.sequence->decode();
  std::vector<float> a(32);
  std::vector<float> b(32);
  run.sequence->download_logits(a);
  other.sequence->download_logits(b);
  CHECK(a == b);
}

TEST_CASE("watch: an observer that fails ends the step; its spans end all the same") {
  WatchedRun run;
  run.take();
  run.script->fails_at = "gate_up";
  const std::vector<int32_t> prompt = {1, 2, 3};
  CHECK_THROWS_AS(run.sequence->prefill(prompt), Error);
  run.script->fails_at.clear();
  run.watched->watch().close();
  CHECK(run.take() ==
        "prefill( embed( ) layer 0( qkv( ) attention( ) attention_output( ) gate_up( ) ) ) ");
  CHECK(run.script->n_failed == 1);
  run.sequence->prefill(prompt);
  run.sequence->wait();
  CHECK(run.take() == "prefill( embed( ) " + kLayers + "logits( ) ) ");
}

TEST_CASE("kernel names: ours are the functions', others' lose their arguments") {
  CHECK(short_kernel_name("_ZN6winnow4cuda12_GLOBAL__N_111gemv_kernelI13__nv_bfloat16fEEvNS1_7"
                          "ProductIT_T0_EE") == "gemv_kernel");
  CHECK(short_kernel_name("_ZN6winnow4cuda14advance_kernelENS_9StepStateE") == "advance_kernel");
  CHECK(short_kernel_name("nvjet_hsh_128x256_64x4_TNT") == "nvjet_hsh_128x256_64x4_TNT");
  CHECK(short_kernel_name("_ZN3cub11EmptyKernelIvEEvv") == "cub::EmptyKernel<void>");
  CHECK(short_kernel_name("").empty());
  CHECK(short_kernel_name(std::string(200, 'x').c_str()).size() == 80);
}
