// The ceilings that a GPU is measured against: below what its memory's clock allows, not far below,
// and without a trace.
#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

#include <memory>

#include "cuda/check.h"
#include "cuda/factory.h"
#include "tests/gpu/gpu.h"

using namespace winnow;
using namespace winnow::test;

namespace {

int attribute(cudaDeviceAttr which) {
  int value = 0;
  cuda::check_cuda(cudaDeviceGetAttribute(&value, which, 0), "ask for an attribute");
  return value;
}

/// GB/s that the pins carry: two bits a clock and wire.
double pin_rate() {
  const double khz = attribute(cudaDevAttrMemoryClockRate);
  const double bits = attribute(cudaDevAttrGlobalMemoryBusWidth);
  return 2 * khz * 1e3 * bits / 8 * 1e-9;
}

ModelConfig small_config() {
  ModelConfig c;
  c.hidden_size = 64;
  c.intermediate_size = 64;
  c.n_layers = 1;
  c.n_heads = c.n_kv_heads = 1;
  c.head_dim = 64;
  c.vocab_size = 64;
  c.rope_theta = 10000;
  return c;
}

}  // namespace

TEST_CASE("ceilings: within what the memory's pins carry, and all memory comes back") {
  NEEDS_GPU();
  const auto device = make_cuda_device(small_config(), DType::kBF16);
  const Ceilings first = device->measure_ceilings();  // loads kernels and the library's plans
  const uint64_t free = device->available_bytes();
  const Ceilings again = device->measure_ceilings();
  CHECK(device->available_bytes() == free);
  MESSAGE("read ", again.read_gbps, " GB/s, copy ", again.copy_gbps, " GB/s, product ",
          again.gemm_tflops, " TFLOP/s; pins ", pin_rate(), " GB/s; driver ", device->driver());
  for (const Ceilings& ceilings : {first, again}) {
    CHECK(ceilings.read_gbps < pin_rate());
    CHECK(ceilings.read_gbps > 0.6 * pin_rate());
    CHECK(ceilings.copy_gbps < pin_rate());
    CHECK(ceilings.copy_gbps > 0.5 * pin_rate());
    CHECK(ceilings.gemm_tflops > 20);
  }
  CHECK(again.read_gbps == doctest::Approx(first.read_gbps).epsilon(0.05));
  CHECK(device->driver().find("CUDA ") != std::string::npos);
}
