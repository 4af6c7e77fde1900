// How fast the GPU computes causal attention of a prompt: 32 query heads, 8 KV heads, bf16. Run
// with --no-skip. Operations are those of pairs that are seen: 4 * head_dim each, two products.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "cuda/attention_prefill.h"
#include "cuda/random.h"
#include "tests/gpu/buffers.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/timing.h"

using namespace winnow;
using namespace winnow::test;

namespace {

/// n rows after `appended` ones of the same pass; nothing was kept before.
struct Scene {
  Scene(int64_t head_dim, int64_t n_rows, int64_t rows_before)
      : heads{32, 8, head_dim},
        n(n_rows),
        appended(rows_before),
        rows(n_rows + rows_before),
        q(size_t(n * heads.q_size()) * 2),
        out(size_t(n * heads.q_size()) * 2),
        k(size_t(rows * heads.kv_size()) * 2),
        v(size_t(rows * heads.kv_size()) * 2),
        mask(size_t(rows * heads.n_kv_heads) * 4),
        lse(size_t(n * heads.n_heads) * 4),
        first(first_rows()),
        visible(raw_bytes(std::vector<int32_t>(size_t(heads.n_kv_heads), 1))) {
    fill(q, n * heads.q_size(), 1);
    fill(k, rows * heads.kv_size(), 2);
    fill(v, rows * heads.kv_size(), 3);
  }

  static void fill(const DeviceBuffer& to, int64_t elements, uint64_t seed) {
    cuda::fill_random(to.data(), DType::kBF16, uint64_t(elements), seed, 1, nullptr);
  }
  std::string first_rows() const {
    std::vector<int64_t> list;
    for (int64_t h = 0; h < heads.n_kv_heads; ++h) list.push_back(h * rows);
    return raw_bytes(list);
  }

  cuda::AttentionArgs args() const {
    return {.type = DType::kBF16,
            .n = n,
            .q = q.data(),
            .out = out.data(),
            .lse = lse.as<float>(),
            .workspace = nullptr,
            .heads = heads,
            .kv = {.k = k.data(),
                   .v = v.data(),
                   .mask = mask.as<uint32_t>(),
                   .first = first.as<int64_t>(),
                   .slot = nullptr,
                   .visible = visible.as<int32_t>(),
                   .appended = appended,
                   .capacity = rows,
                   .entries = rows * heads.n_kv_heads},
            .gpu = cuda::current_gpu()};
  }

  double operations() const {
    const double pairs = double(n) * double(appended) + double(n) * double(n + 1) / 2;
    return 4 * double(heads.head_dim) * double(heads.n_heads) * pairs;
  }
  double teraflops(const cuda::PrefillPlan& plan, int runs, int warm_ups) const {
    const auto launch = [&] { (void)cuda::attention_prefill_sm90(args(), plan, nullptr); };
    return operations() / median_us(launch, runs, warm_ups) * 1e-6;
  }

  cuda::Heads heads;
  int64_t n, appended, rows;
  DeviceBuffer q, out, k, v, mask, lse, first, visible;
};

void time_all(int64_t head_dim, int64_t n, int64_t appended, int runs, int warm_ups) {
  const Scene scene(head_dim, n, appended);
  const auto time = [&](const std::string& name, const cuda::PrefillPlan& plan) {
    MESSAGE("attention D=", head_dim, ", ", n, " rows after ", appended, ", ", name, ": ",
            scene.teraflops(plan, runs, warm_ups), " TFLOP/s");
  };
  time("rescaled whenever grown", {.slack = 0});
  time("a block for each unit", {});
  time("blocks that stay", {.stays = true});
  const cuda::PrefillPlan used = cuda::prefill_plan(scene.args());
  time(used.stays ? "as it is used (stay)" : "as it is used (a block for each unit)", used);
}

}  // namespace

TEST_CASE("timing: prefill attention" * doctest::skip()) {
  NEEDS_HOPPER();
  time_all(128, 2048, 0, 20, 3);
  time_all(128, 8192, 0, 20, 3);
  time_all(64, 8192, 0, 20, 3);
  time_all(128, 32'768, 0, 10, 2);
  time_all(128, 8448, 122'624, 5, 1);  // the last chunk of a prompt of 128K
}

TEST_CASE("timing: prefill attention of 128K rows" * doctest::skip()) {
  NEEDS_HOPPER();
  time_all(128, 131'072, 0, 3, 1);
}

TEST_CASE("timing: prefill attention, at once and after a second of it" * doctest::skip()) {
  NEEDS_HOPPER();
  const Scene scene(128, 8192, 0);
  const cuda::PrefillPlan plan = cuda::prefill_plan(scene.args());
  const double cold = scene.teraflops(plan, 20, 3);
  const double warm = scene.teraflops(plan, 20, 1200);
  MESSAGE("attention D=128, 8192 rows: ", cold, " TFLOP/s at once, ", warm,
          " after a second: what the GPU's power limit takes");
}
