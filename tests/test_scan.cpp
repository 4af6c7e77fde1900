#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/safetensors_file.h"
#include "tests/support/temp_dir.h"
#include "weights/scan.h"

namespace winnow {
namespace {

using test::TempDir;
using test::TestTensor;

std::string f16_bytes(const std::vector<uint16_t>& bits) {
  return {reinterpret_cast<const char*>(bits.data()), bits.size() * sizeof(uint16_t)};
}

TEST_CASE("scan: NaN and infinity are counted per tensor, in every type") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  const TempDir dir;
  test::write_safetensors(
      dir / "model.safetensors",
      {TestTensor{"a.clean", DType::kF32, {3}, test::encode(DType::kF32, {1, -2, 0})},
       TestTensor{"b.f32", DType::kF32, {4}, test::encode(DType::kF32, {1, -inf, nan, inf})},
       TestTensor{"c.f16", DType::kF16, {3}, f16_bytes({0x7bff, 0x3c00, 0x7c01})},
       TestTensor{"d.bf16", DType::kBF16, {3}, f16_bytes({0xff80, 0x7f7f, 0x7fc0})}});
  const std::vector<NonFinite> found = find_non_finite(open_checkpoint(dir.path()), {});
  REQUIRE(found.size() == 3);
  CHECK(found[0].tensor == "b.f32");
  CHECK(found[0].nan == 1);
  CHECK(found[0].inf == 2);
  CHECK(found[0].first_index == 1);
  CHECK(found[1].tensor == "c.f16");
  CHECK(found[1].nan == 1);
  CHECK(found[1].inf == 0);
  CHECK(found[1].first_index == 2);
  CHECK(found[2].tensor == "d.bf16");
  CHECK(found[2].nan == 1);
  CHECK(found[2].inf == 1);
  CHECK(found[2].first_index == 0);
}

TEST_CASE("scan: large tensors come in blocks, and the index counts from the tensor's start") {
  constexpr size_t kN = 3'000'000;  // 12 MB
  std::vector<float> values(kN, 1.0F);
  values[2'500'000] = std::nanf("");
  const TempDir dir;
  test::write_safetensors(dir / "model.safetensors",
                          {TestTensor{"w", DType::kF32, {kN}, test::encode(DType::kF32, values)}});
  std::vector<uint64_t> steps;
  const std::vector<NonFinite> found =
      find_non_finite(open_checkpoint(dir.path()), [&](uint64_t done, uint64_t total) {
        CHECK(total == kN * sizeof(float));
        steps.push_back(done);
      });
  REQUIRE(found.size() == 1);
  CHECK(found[0].first_index == 2'500'000);
  CHECK(steps == std::vector<uint64_t>{uint64_t{8} << 20, kN * sizeof(float)});
}

}  // namespace
}  // namespace winnow
