#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/expect_error.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"
#include "weights/loader.h"

namespace winnow {
namespace {

using test::decode;
using test::expect_error;
using test::TempDir;
using test::TestTensor;
using test::TinyModel;

constexpr uint64_t kBlock = uint64_t{8} << 20;

/// A device whose memory is a list of named blocks.
class MemorySink : public WeightSink {
 public:
  void* allocate(std::string_view name, uint64_t bytes) override {
    names.emplace_back(name);
    blocks.push_back(std::make_unique<std::byte[]>(bytes));
    return blocks.back().get();
  }
  void read(void* to, const File& file, uint64_t offset, uint64_t bytes) override {
    CHECK(bytes <= kBlock);
    file.read_at(offset, {static_cast<std::byte*>(to), bytes});
  }
  void write(void* to, const void* from, uint64_t bytes) override { std::memcpy(to, from, bytes); }
  void finish() override { ++finished; }

  std::vector<std::string> names;
  std::vector<std::unique_ptr<std::byte[]>> blocks;
  int finished = 0;
};

/// A model on disk, and everything up to its weights in memory.
struct Loaded {
  explicit Loaded(const TinyModel& model) {
    test::write_tiny_model(dir.path(), model);
    config = read_config(dir.path());
    checkpoint = open_checkpoint(dir.path());
    plan = plan_weights(checkpoint, config);
    weights = load_weights(checkpoint, plan, config, sink, {});
    for (TestTensor& tensor : test::tiny_tensors(model)) tensors[tensor.name] = tensor;
  }

  TempDir dir;
  ModelConfig config;
  Checkpoint checkpoint;
  WeightPlan plan;
  MemorySink sink;
  ModelWeights weights;
  std::map<std::string, TestTensor> tensors;
};

/// Whether `matrix` is the tensors of `names`, one below the other, bit for bit.
bool holds(const Loaded& loaded, const Matrix& matrix, const std::vector<std::string>& names) {
  std::string expected;
  for (const std::string& name : names) expected += loaded.tensors.at(name).bytes;
  const auto n = static_cast<uint64_t>(matrix.rows * matrix.cols) * dtype_size(matrix.type);
  return n == expected.size() && std::memcmp(matrix.data, expected.data(), n) == 0;
}

bool holds(const Loaded& loaded, const float* norm, const std::string& name) {
  const std::vector<float> expected = decode(loaded.tensors.at(name));
  return std::equal(expected.begin(), expected.end(), norm);
}

void check_layer(const Loaded& loaded, size_t i) {
  const LayerWeights& layer = loaded.weights.layers[i];
  const std::string name = "model.layers." + std::to_string(i) + ".";
  const std::string attention = name + "self_attn.";
  CHECK(holds(loaded, layer.attention_norm, name + "input_layernorm.weight"));
  CHECK(holds(
      loaded, layer.qkv,
      {attention + "q_proj.weight", attention + "k_proj.weight", attention + "v_proj.weight"}));
  CHECK(layer.qkv.rows == loaded.config.qkv_size());
  CHECK(layer.qkv.cols == loaded.config.hidden_size);
  CHECK(holds(loaded, layer.o, {attention + "o_proj.weight"}));
  CHECK(layer.o.cols == loaded.config.q_size());
  CHECK(holds(loaded, layer.mlp_norm, name + "post_attention_layernorm.weight"));
  CHECK(holds(loaded, layer.gate_up, {name + "mlp.gate_proj.weight", name + "mlp.up_proj.weight"}));
  CHECK(holds(loaded, layer.down, {name + "mlp.down_proj.weight"}));
}

TEST_CASE("loader: every weight lands where the network looks for it") {
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const bool tied : {false, true}) {
      CAPTURE(dtype_name(type));
      CAPTURE(tied);
      TinyModel model;
      model.type = type;
      model.tied = tied;
      model.sharded = tied;
      const Loaded loaded(model);
      CHECK(loaded.plan.type == type);
      CHECK(loaded.weights.embedding.type == type);
      CHECK(holds(loaded, loaded.weights.embedding, {"model.embed_tokens.weight"}));
      CHECK(loaded.weights.embedding.rows == 32);
      REQUIRE(loaded.weights.layers.size() == 2);
      for (size_t i = 0; i < 2; ++i) check_layer(loaded, i);
      CHECK(holds(loaded, loaded.weights.final_norm, "model.norm.weight"));
      const std::string head = tied ? "model.embed_tokens.weight" : "lm_head.weight";
      CHECK(holds(loaded, loaded.weights.lm_head, {head}));
      CHECK((loaded.weights.lm_head.data == loaded.weights.embedding.data) == tied);
      CHECK(loaded.sink.finished == 1);
    }
  }
}

TEST_CASE("loader: parts come in the order of a token's way") {
  TinyModel model;
  model.n_layers = 1;
  const Loaded loaded(model);
  CHECK(loaded.sink.names == std::vector<std::string>{"embedding", "layers.0.attention_norm",
                                                      "layers.0.qkv", "layers.0.o",
                                                      "layers.0.mlp_norm", "layers.0.gate_up",
                                                      "layers.0.down", "final_norm", "lm_head"});
  uint64_t bytes = 0;
  for (const WeightPart& part : loaded.plan.parts) bytes += (part.bytes() + 255) / 256 * 256;
  CHECK(loaded.plan.bytes == bytes);
  CHECK(loaded.plan.parts[1].bytes() == 16 * sizeof(float));
}

TEST_CASE("loader: progress rises to the total, and large tensors come in blocks") {
  TinyModel model;
  model.n_layers = 1;
  model.vocab_size = 150'000;  // 9.6 MB of embedding
  const TempDir dir;
  test::write_tiny_model(dir.path(), model);
  const ModelConfig config = read_config(dir.path());
  const Checkpoint checkpoint = open_checkpoint(dir.path());
  const WeightPlan plan = plan_weights(checkpoint, config);
  uint64_t stored = 0;
  for (const auto& [name, entry] : checkpoint.tensors) stored += entry.info.bytes;

  MemorySink sink;
  uint64_t last = 0;
  uint64_t calls = 0;
  load_weights(checkpoint, plan, config, sink, [&](uint64_t done, uint64_t total) {
    CHECK(total == stored);
    CHECK(done > last);
    CHECK(done - last <= kBlock);
    last = done;
    ++calls;
  });
  CHECK(last == stored);
  CHECK(calls == checkpoint.tensors.size() + 2);  // embedding and lm_head: two blocks each
}

TEST_CASE("loader: progress may stop the load") {
  TinyModel model;
  const TempDir dir;
  test::write_tiny_model(dir.path(), model);
  const ModelConfig config = read_config(dir.path());
  const Checkpoint checkpoint = open_checkpoint(dir.path());
  const WeightPlan plan = plan_weights(checkpoint, config);
  MemorySink sink;
  expect_error(ExitCode::kInterrupted, {"stop"}, [&] {
    load_weights(checkpoint, plan, config, sink,
                 [](uint64_t, uint64_t) { fail(ExitCode::kInterrupted, "stop"); });
  });
  CHECK(sink.finished == 0);
}

/// A plan, and the files that its bindings point into.
struct Planned {
  Checkpoint checkpoint;
  WeightPlan plan;
};

/// Plans the tiny model after `change` has had its way with the tensors and the shape.
template <class Change>
Planned plan_changed(TinyModel model, Change change) {
  std::vector<TestTensor> tensors = test::tiny_tensors(model);
  change(tensors, model);
  const TempDir dir;
  test::write_safetensors(dir / "model.safetensors", tensors);
  const ModelConfig config = parse_config(test::tiny_config_json(model), "config.json");
  Planned planned{.checkpoint = open_checkpoint(dir.path()), .plan = {}};
  planned.plan = plan_weights(planned.checkpoint, config);
  return planned;
}

TestTensor& find(std::vector<TestTensor>& tensors, std::string_view name) {
  for (TestTensor& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  FAIL("no tensor ", std::string(name));
  return tensors.front();
}

template <class Change>
void expect_rejected(const TinyModel& model, std::initializer_list<std::string_view> parts,
                     Change change) {
  expect_error(ExitCode::kModel, parts, [&] { plan_changed(model, change); });
}

using Tensors = std::vector<TestTensor>;

TEST_CASE("loader: missing and unexpected names are reported together") {
  expect_rejected({}, {"1 missing: 'model.norm.weight'", "1 unexpected: 'model.norm.wieght'"},
                  [](Tensors& tensors, TinyModel&) {
                    find(tensors, "model.norm.weight").name = "model.norm.wieght";
                  });
  expect_rejected({}, {"missing: 'lm_head.weight'"},
                  [](Tensors& tensors, TinyModel&) { tensors.pop_back(); });
}

TEST_CASE("loader: a wrong number of layers lists the first names and their count") {
  expect_rejected({}, {"9 missing: 'model.layers.2.input_layernorm.weight'", "..."},
                  [](Tensors&, TinyModel& model) { model.n_layers = 3; });
  expect_rejected({}, {"9 unexpected: 'model.layers.1.input_layernorm.weight'", "..."},
                  [](Tensors&, TinyModel& model) { model.n_layers = 1; });
}

TEST_CASE("loader: layer numbers are never parsed out of names") {
  for (const std::string number :
       {"-1", "00", "99999999999999999999", "4294967296", "0x1", "+0", "2"}) {
    const std::string name = "model.layers." + number + ".input_layernorm.weight";
    expect_rejected({}, {"1 unexpected: '" + name + "'"}, [&](Tensors& tensors, TinyModel&) {
      TestTensor extra = find(tensors, "model.norm.weight");
      extra.name = name;
      tensors.push_back(extra);
    });
  }
}

TEST_CASE("loader: shapes must be those of the configuration") {
  expect_rejected({}, {"model.safetensors", "self_attn.q_proj.weight'", "[16, 32]", "[32, 16]"},
                  [](Tensors& tensors, TinyModel&) {
                    find(tensors, "model.layers.0.self_attn.q_proj.weight").shape = {16, 32};
                  });
  expect_rejected({}, {"self_attn.k_proj.weight'", "[16, 16]", "[32, 16]"},
                  [](Tensors&, TinyModel& model) { model.n_kv_heads = 4; });
  expect_rejected({}, {"'model.embed_tokens.weight'", "[32, 16]", "[33, 16]"},
                  [](Tensors&, TinyModel& model) { model.vocab_size = 33; });
  expect_rejected({}, {"'model.norm.weight'", "[0]", "[16]"}, [](Tensors& tensors, TinyModel&) {
    TestTensor& norm = find(tensors, "model.norm.weight");
    norm.shape = {0};
    norm.bytes.clear();
  });
  expect_rejected({}, {"'model.norm.weight'", "[16, 1]", "[16]"}, [](Tensors& tensors, TinyModel&) {
    find(tensors, "model.norm.weight").shape = {16, 1};
  });
}

void store_as(TestTensor& tensor, DType type) {
  tensor.bytes = test::encode(type, decode(tensor));
  tensor.type = type;
}

TEST_CASE("loader: matrices share one type, norms need not") {
  expect_rejected(
      {}, {"'model.layers.1.mlp.up_proj.weight' is F16", "'model.embed_tokens.weight' is F32"},
      [](Tensors& tensors, TinyModel&) {
        store_as(find(tensors, "model.layers.1.mlp.up_proj.weight"), DType::kF16);
      });
  TinyModel model;
  model.type = DType::kBF16;
  const auto [checkpoint, plan] = plan_changed(model, [](Tensors& tensors, TinyModel&) {
    store_as(find(tensors, "model.norm.weight"), DType::kF32);
    store_as(find(tensors, "model.layers.0.input_layernorm.weight"), DType::kF16);
  });
  CHECK(plan.type == DType::kBF16);
  CHECK(plan.parts[1].bindings[0].source->info.type == DType::kF16);
  CHECK(plan.parts[1].type == DType::kF32);
  CHECK(plan.parts[1].bytes() == 16 * sizeof(float));
}

TEST_CASE("loader: known extras are accepted and not read") {
  TinyModel model;
  model.tied = true;
  const auto [checkpoint, plan] = plan_changed(model, [](Tensors& tensors, TinyModel&) {
    TestTensor head = find(tensors, "model.embed_tokens.weight");
    head.name = "lm_head.weight";
    tensors.push_back(head);
    TestTensor buffer = find(tensors, "model.norm.weight");
    buffer.name = "model.layers.1.self_attn.rotary_emb.inv_freq";
    tensors.push_back(buffer);
  });
  CHECK(plan.parts.back().name == "final_norm");
  REQUIRE(plan.notes.size() == 1);
  CHECK(plan.notes[0].find("lm_head.weight") != std::string::npos);
}

TEST_CASE("loader: hostile names are shown on one line") {
  expect_rejected({}, {"unexpected: 'a\\x00\\x0a\\x1b[2J'"}, [](Tensors& tensors, TinyModel&) {
    TestTensor extra = find(tensors, "model.norm.weight");
    extra.name = "a\\u0000\\n\\u001b[2J";  // as JSON spells it
    tensors.push_back(extra);
  });
}

TEST_CASE("loader: a file that is cut while it is loaded is an I/O error") {
  const TempDir dir;
  test::write_tiny_model(dir.path(), {});
  const ModelConfig config = read_config(dir.path());
  const Checkpoint checkpoint = open_checkpoint(dir.path());
  const WeightPlan plan = plan_weights(checkpoint, config);
  std::filesystem::resize_file(dir / "model.safetensors", checkpoint.files[0].size() / 2);
  MemorySink sink;
  expect_error(ExitCode::kIo, {"model.safetensors", "ends at byte"},
               [&] { load_weights(checkpoint, plan, config, sink, {}); });
}

TEST_CASE("loader: the models at hand are accepted") {
  for (const char* path : {"weights/demo", "../shared/data/models/stories260K"}) {
    if (!std::filesystem::exists(path)) {
      MESSAGE("skipped: no ", std::string(path));
      continue;
    }
    const ModelConfig config = read_config(path);
    const Checkpoint checkpoint = open_checkpoint(path);
    MemorySink sink;
    const WeightPlan plan = plan_weights(checkpoint, config);
    const ModelWeights weights = load_weights(checkpoint, plan, config, sink, {});
    CHECK(weights.lm_head.data == weights.embedding.data);
    CHECK(checkpoint.notes.empty());
    CHECK(plan.notes.empty());
  }
}

}  // namespace
}  // namespace winnow
