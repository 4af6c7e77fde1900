// Whole models on the GPU: against Hugging Face, against the CPU, and against themselves.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/gpu/gpu.h"
#include "tests/npy.h"
#include "tests/support/numbers.h"

using namespace winnow;
using namespace winnow::test;

namespace {

const std::filesystem::path kFixtures = "tests/fixtures";
const DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

nlohmann::json read_json(const std::filesystem::path& path) {
  return nlohmann::json::parse(read_file(path));
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// How far two ways through the same arithmetic may be apart.
double way_tolerance(DType type) {
  return type == DType::kF32 ? 1e-10 : 1e-4;
}

/// Shapes whose rows are no multiples of anything that a kernel works by, each in every type.
std::vector<TinyModel> shapes() {
  const TinyModel plain[] = {
      {},                                                                        // GQA
      {.n_heads = 4, .n_kv_heads = 4, .head_dim = 6, .seed = 2},                 // MHA
      {.n_heads = 3, .n_kv_heads = 1, .head_dim = 10, .tied = true, .seed = 3},  // MQA, tied
      {.hidden_size = 128, .intermediate_size = 320, .n_heads = 8, .n_kv_heads = 2, .head_dim = 64},
      {.hidden_size = 72, .n_heads = 2, .n_kv_heads = 1, .head_dim = 256},
  };
  std::vector<TinyModel> all;
  for (const DType type : kTypes) {
    for (TinyModel shape : plain) {
      shape.type = type;
      shape.max_positions = 512;
      all.push_back(shape);
    }
  }
  return all;
}

/// The tokens that follow `prompt`, drawn one by one; the last logits go to `logits`.
std::vector<int32_t> generate(const Model& model, const std::vector<int32_t>& prompt, int n,
                              const SamplerOptions& options, std::vector<float>* logits = nullptr) {
  Sequence sequence(model.network(), static_cast<int64_t>(prompt.size()) + n, 0);
  sequence.prefill(prompt);
  std::vector<int32_t> tokens;
  for (int i = 0; i < n; ++i) {
    tokens.push_back(sequence.sample(static_cast<int32_t>(model.config.vocab_size), options));
    sequence.decode();
  }
  if (logits != nullptr) *logits = last_logits(sequence, model);
  return tokens;
}

/// How well `actual` predicts what `truth` predicts.  both [rows, vocab]
struct Agreement {
  double mean_kl = 0;     // of softmax(truth) from softmax(actual), in nats
  double same_top_1 = 0;  // share of the rows
  double widest_gap = 0;  // by which the truth's token led the one that was taken for it, at most
};

double log_sum_exp(const float* row, size_t vocab) {
  const double greatest = *std::max_element(row, row + vocab);
  double sum = 0;
  for (size_t i = 0; i < vocab; ++i) sum += std::exp(double{row[i]} - greatest);
  return greatest + std::log(sum);
}

Agreement compare(const std::vector<float>& actual, const std::vector<float>& truth, size_t vocab) {
  REQUIRE(actual.size() == truth.size());
  Agreement result;
  const size_t rows = truth.size() / vocab;
  for (size_t r = 0; r < rows; ++r) {
    const float* a = &actual[r * vocab];
    const float* t = &truth[r * vocab];
    const double a_total = log_sum_exp(a, vocab);
    const double t_total = log_sum_exp(t, vocab);
    for (size_t i = 0; i < vocab; ++i) {
      const double log_p = double{t[i]} - t_total;
      result.mean_kl += std::exp(log_p) * (log_p - (double{a[i]} - a_total));
    }
    const auto taken = std::max_element(a, a + vocab) - a;
    const auto best = std::max_element(t, t + vocab) - t;
    if (taken == best) result.same_top_1 += 1;
    result.widest_gap = std::max(result.widest_gap, double{t[best]} - t[taken]);
  }
  result.mean_kl /= static_cast<double>(rows);
  result.same_top_1 /= static_cast<double>(rows);
  return result;
}

/// A copy of a model directory with every tensor rounded to `type`.
void copy_model_as(const std::filesystem::path& from, const std::filesystem::path& to, DType type) {
  write_file(to / "config.json", read_file(from / "config.json"));
  const Checkpoint checkpoint = open_checkpoint(from);
  std::vector<TestTensor> tensors;
  for (const auto& [name, entry] : checkpoint.tensors) {
    TestTensor tensor{name, entry.info.type, entry.info.shape, std::string(entry.info.bytes, '\0')};
    checkpoint.files[entry.file].read_at(entry.info.offset,
                                         std::as_writable_bytes(std::span(tensor.bytes)));
    tensor.bytes = encode(type, decode(tensor));
    tensor.type = type;
    tensors.push_back(std::move(tensor));
  }
  write_safetensors(to / "model.safetensors", tensors);
}

}  // namespace

TEST_CASE("GPU: stories260K gives its golden text, with and without a graph") {
  NEEDS_GPU();
  const auto dir = shared_data("models/stories260K");
  if (!dir) {
    MESSAGE("skipped: models/stories260K is not there");
    return;
  }
  std::ifstream in(*dir / "golden-greedy-200-ids.txt");
  const std::vector<int32_t> golden{std::istream_iterator<int32_t>(in), {}};
  REQUIRE(golden.size() == 200);
  for (const bool graph : {false, true}) {
    const Model model = load_on_gpu(*dir, 256, {.graph = graph, .note = {}});
    CHECK(generate(model, {model.config.bos}, 200, {}) == golden);
  }
}

TEST_CASE("GPU: logits equal Hugging Face's: GQA, MHA, MQA, tied, head_dim, shards, F16, BF16") {
  NEEDS_GPU();
  const char* const cases[] = {"gqa_f32",  "mha_f32",      "mqa_f32",
                               "tied_f32", "head_dim_f32", "sharded_f32",
                               "gqa_f16",  "gqa_bf16",     "gqa_bf16_sharded_tied"};
  for (const char* name : cases) {
    CAPTURE(name);
    const std::vector<int32_t> ids = read_json(kFixtures / name / "ids.json")["ids"];
    const auto expected = read_npy<float>(kFixtures / name / "logits.npy");
    const Model model = load_on_gpu(kFixtures / name, int64_t(ids.size()));
    const bool exact = model.device->compute_type() == DType::kF32;
    for (const int64_t rows : {0, 1, 3, 7}) {  // products, gemv, gemv of several rows, both
      CAPTURE(rows);
      const std::vector<float> logits = all_logits(model, ids, rows);
      REQUIRE(logits.size() == expected.values.size());
      CHECK(nmse(logits, expected.values) < (exact ? 1e-9 : 1e-3));
      if (exact) CHECK(max_difference(logits, expected.values) < 1e-3);
    }
  }
}

TEST_CASE("GPU: the bundled model in its own type, against Hugging Face's fixture") {
  NEEDS_GPU();
  const std::vector<int32_t> ids = read_json(kFixtures / "demo/ids.json")["ids"];
  const auto expected = read_npy<float>(kFixtures / "demo/logits_last8.npy");
  const Model model = load_on_gpu("weights/demo", int64_t(ids.size()));
  const std::vector<float> all = all_logits(model, ids);
  const std::vector<float> last(all.end() - int64_t(expected.values.size()), all.end());
  CHECK(nmse(last, expected.values) < 1e-3);
}

TEST_CASE("GPU: the bundled model in F32 is the CPU's, and continues a text as Hugging Face does") {
  NEEDS_GPU();
  const TempDir dir;
  copy_model_as("weights/demo", dir.path(), DType::kF32);
  const nlohmann::json greedy = read_json(kFixtures / "demo/greedy.json");
  const std::vector<int32_t> prompt = greedy["prompt"];
  const std::vector<int32_t> expected = greedy["ids"];
  const Model gpu = load_on_gpu(dir.path(), 256);
  CHECK(generate(gpu, prompt, int(expected.size()), {}) == expected);

  const Model cpu = load_on_cpu(dir.path(), 256);
  const std::vector<int32_t> tokens = random_tokens(200, cpu.config.vocab_size, 21);
  const std::vector<float> truth = all_logits(cpu, tokens);
  const std::vector<float> logits = all_logits(gpu, tokens);
  CHECK(max_difference(logits, truth) < 1e-3);
  CHECK(nmse(logits, truth) < 1e-9);
}

TEST_CASE("GPU: the bundled model in 16 bits predicts what the CPU predicts in fp32") {
  NEEDS_GPU();
  constexpr int kTokens = 2000;
  constexpr int64_t kRows = 512;
  for (const DType type : {DType::kBF16, DType::kF16}) {
    CAPTURE(std::string(dtype_name(type)));
    const TempDir dir;
    copy_model_as("weights/demo", dir.path(), type);
    const Model gpu = load_on_gpu(dir.path(), kTokens + 1);
    std::vector<int32_t> tokens = generate(gpu, {1}, kTokens, {.temperature = 1, .seed = 5});
    tokens.insert(tokens.begin(), 1);
    const std::vector<float> logits = all_logits(gpu, tokens, kRows);
    const Model cpu = load_on_cpu(dir.path(), kTokens + 1);
    const std::vector<float> truth = all_logits(cpu, tokens, kRows);
    const auto vocab = static_cast<size_t>(cpu.config.vocab_size);
    const Agreement agreement = compare(logits, truth, vocab);
    const double error = nmse(logits, truth);
    MESSAGE(dtype_name(type), ": NMSE ", error, ", mean KL ", agreement.mean_kl, ", same top-1 ",
            agreement.same_top_1, ", widest gap ", agreement.widest_gap);
    CHECK(error < 1e-3);
    CHECK(agreement.mean_kl < 1e-4);
    // Eight bits of mantissa decide otherwise only where the first two are nearly equal.
    CHECK(agreement.same_top_1 > (type == DType::kF16 ? 0.995 : 0.99));
    CHECK(agreement.widest_gap < 0.1);
  }
}

TEST_CASE("GPU: prefill of n tokens equals n decode steps") {
  NEEDS_GPU();
  for (const TinyModel& shape : shapes()) {
    CAPTURE(shape.head_dim);
    CAPTURE(std::string(dtype_name(shape.type)));
    const Model model = load_tiny_on_gpu(shape, 100);
    const std::vector<int32_t> tokens = random_tokens(90, shape.vocab_size, 7);
    Sequence whole(model.network(), 100, 0);
    whole.prefill(tokens);
    CHECK(nmse(stepwise_logits(model, tokens), last_logits(whole, model)) <
          way_tolerance(shape.type));
  }
}

TEST_CASE("GPU: prefill in pieces and any number of rows at once equal prefill at once") {
  NEEDS_GPU();
  for (const TinyModel& shape : shapes()) {
    CAPTURE(shape.head_dim);
    CAPTURE(std::string(dtype_name(shape.type)));
    const Model model = load_tiny_on_gpu(shape, 200);
    const std::vector<int32_t> tokens = random_tokens(190, shape.vocab_size, 8);
    const double tolerance = way_tolerance(shape.type);
    const std::vector<float> whole = all_logits(model, tokens);
    for (const int64_t rows : {1, 4, 5, 64, 65, 189, 1000}) {
      CAPTURE(rows);
      CHECK(nmse(all_logits(model, tokens, rows), whole) < tolerance);
    }
    const std::vector<float> last(whole.end() - shape.vocab_size, whole.end());
    for (const size_t cut : {1, 6, 64, 130, 189}) {
      CAPTURE(cut);
      CHECK(nmse(pieces_logits(model, tokens, cut), last) < tolerance);
    }
  }
}

TEST_CASE("GPU: tiny models of every shape equal the CPU's") {
  NEEDS_GPU();
  for (const TinyModel& shape : shapes()) {
    CAPTURE(shape.head_dim);
    CAPTURE(std::string(dtype_name(shape.type)));
    const std::vector<int32_t> tokens = random_tokens(150, shape.vocab_size, 9);
    const std::vector<float> truth = all_logits(load_tiny(shape, 150), tokens);
    const std::vector<float> logits = all_logits(load_tiny_on_gpu(shape, 150), tokens);
    CHECK(nmse(logits, truth) < (shape.type == DType::kF32 ? 1e-9 : 1e-3));
  }
}

TEST_CASE("GPU: a graph and its steps one by one are the same to the bit, and so are two runs") {
  NEEDS_GPU();
  const std::vector<int32_t> prompt = random_tokens(30, 32, 10);
  for (const TinyModel& shape : shapes()) {
    CAPTURE(shape.head_dim);
    CAPTURE(std::string(dtype_name(shape.type)));
    const Model graph = load_tiny_on_gpu(shape, 400, {.graph = true, .note = {}});
    const Model steps = load_tiny_on_gpu(shape, 400, {.graph = false, .note = {}});
    for (const float temperature : {0.0F, 1.0F}) {
      const SamplerOptions options{.temperature = temperature, .repeat_penalty = 1.1F, .seed = 3};
      std::vector<float> first, again, stepwise;
      const std::vector<int32_t> tokens = generate(graph, prompt, 300, options, &first);
      CHECK(generate(graph, prompt, 300, options, &again) == tokens);
      CHECK(generate(steps, prompt, 300, options, &stepwise) == tokens);
      CHECK(same_bits(again, first));
      CHECK(same_bits(stepwise, first));
    }
  }
}

TEST_CASE("GPU: fused decode steps equal the same steps taken apart, for shapes of all sizes") {
  NEEDS_GPU();
  std::vector<TinyModel> all = shapes();
  for (const DType type : {DType::kF16, DType::kBF16}) {
    all.push_back({.hidden_size = 520,
                   .intermediate_size = 1416,
                   .n_heads = 6,
                   .n_kv_heads = 2,
                   .head_dim = 80,
                   .vocab_size = 1001,
                   .max_positions = 512,
                   .type = type});
  }
  for (const TinyModel& shape : all) {
    CAPTURE(shape.hidden_size);
    CAPTURE(shape.head_dim);
    CAPTURE(std::string(dtype_name(shape.type)));
    const std::vector<int32_t> tokens = random_tokens(40, shape.vocab_size, 14);
    const Model fused = load_tiny_on_gpu(shape, 64);
    const Model apart = load_tiny_on_gpu(shape, 64, {.fuse = false, .note = {}});
    const std::vector<float> logits = stepwise_logits(fused, tokens);
    const std::vector<float> expected = stepwise_logits(apart, tokens);
    const bool exact = shape.type == DType::kF32;
    CHECK(same_bits(logits, expected) == exact);  // F32 is never fused
    CHECK(nmse(logits, expected) < way_tolerance(shape.type));
  }
}

TEST_CASE("GPU: a next turn after decode steps starts from the same cache, graph or not") {
  NEEDS_GPU();
  const TinyModel shape{.type = DType::kBF16};
  std::vector<std::vector<float>> logits;
  for (const bool graph : {false, true}) {
    const Model model = load_tiny_on_gpu(shape, 100, {.graph = graph, .note = {}});
    Sequence sequence(model.network(), 100, 0);
    for (uint64_t turn = 0; turn < 3; ++turn) {
      sequence.prefill(random_tokens(9, shape.vocab_size, turn));
      for (int i = 0; i < 10; ++i) {
        sequence.sample(static_cast<int32_t>(shape.vocab_size), {});
        sequence.decode();
      }
    }
    CHECK(sequence.cache().next_position() == 57);
    logits.push_back(last_logits(sequence, model));
  }
  CHECK(same_bits(logits[0], logits[1]));
}

TEST_CASE("GPU: an interrupted prefill leaves the cache as it was") {
  NEEDS_GPU();
  const TinyModel shape{.type = DType::kF16};
  const Model model = load_tiny_on_gpu(shape, 64);
  const std::vector<int32_t> first = random_tokens(20, shape.vocab_size, 12);
  const std::vector<int32_t> second = random_tokens(15, shape.vocab_size, 13);
  Sequence undisturbed(model.network(), 64, 6);
  undisturbed.prefill(first);
  undisturbed.prefill(second);

  Sequence disturbed(model.network(), 64, 6);
  disturbed.prefill(first);
  const uint64_t scratch = model.device->scratch_region().used();
  for (const uint64_t stop_at : {1, 9, 29}) {
    PrefillHooks hooks;
    hooks.progress = [&](uint64_t done, uint64_t) {
      if (done >= stop_at) throw std::runtime_error("stop");
    };
    CHECK_THROWS(disturbed.prefill(second, hooks));
    CHECK(disturbed.cache().next_position() == 20);
    CHECK(model.device->scratch_region().used() == scratch);
  }
  disturbed.prefill(second);
  CHECK(same_bits(last_logits(disturbed, model), last_logits(undisturbed, model)));
}

TEST_CASE("GPU: the memory of a sequence is given back") {
  NEEDS_GPU();
  const Model model = load_tiny_on_gpu({.max_positions = 100'000}, 100'000);
  size_t before = 0, during = 0, after = 0, total = 0;
  REQUIRE(cudaMemGetInfo(&before, &total) == cudaSuccess);
  {
    Sequence sequence(model.network(), 100'000, 0);
    sequence.prefill(std::vector<int32_t>{1});
    REQUIRE(cudaMemGetInfo(&during, &total) == cudaSuccess);
  }
  REQUIRE(cudaMemGetInfo(&after, &total) == cudaSuccess);
  CHECK(before - during >= size_t{20} << 20);  // 2 layers x 2 heads x 100,000 rows of 72 bytes
  CHECK(after + (size_t{8} << 20) >= before);
}
