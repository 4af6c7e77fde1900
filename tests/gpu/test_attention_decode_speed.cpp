// How long decode attention takes, beside the GPU's speed of reading: 8 KV heads of 4 query heads,
// bf16, heads of 128 and 64, one query row. Run with --no-skip.
//
// "chain": a hundred launches in a graph, each over another layer, so that L2 holds nothing that is
// read; time of one. "alone": single launches, from event to event. "read": a kernel that only
// reads as many bytes, in the same kind of chain.
#include <doctest/doctest.h>

#include <cstdio>
#include <functional>
#include <numeric>

#include "cuda/graph.h"
#include "cuda/kernels.h"
#include "cuda/random.h"
#include "tests/gpu/buffers.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/read_ceiling.h"
#include "tests/gpu/timing.h"

using namespace winnow;
using namespace winnow::test;

namespace {

constexpr int64_t kKvHeads = 8;
constexpr int kLaunches = 100;
constexpr int64_t kColdBytes = int64_t{400} << 20;  // a round over all layers reads so much or more

/// Room without the fill and the guard of DeviceBuffer: it is large.
struct Room {
  explicit Room(int64_t bytes) { cuda::check_cuda(cudaMalloc(&data, size_t(bytes)), "allocate"); }
  ~Room() { (void)cudaFree(data); }
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;
  std::byte* at(int64_t byte) const { return static_cast<std::byte*>(data) + byte; }
  void* data = nullptr;
};

std::string first_rows(const std::vector<int32_t>& rows) {
  std::vector<int64_t> first(rows.size(), 0);
  std::partial_sum(rows.begin(), rows.end() - 1, first.begin() + 1, std::plus<int64_t>());
  return raw_bytes(first);
}

/// Layers of the same row counts, all of random numbers.  rows [kKvHeads]
struct Layers {
  Layers(int64_t head_dim, const std::vector<int32_t>& head_rows)
      : heads{4 * kKvHeads, kKvHeads, head_dim},
        gpu(cuda::current_gpu()),
        entries(std::accumulate(head_rows.begin(), head_rows.end(), int64_t{0})),
        capacity(*std::max_element(head_rows.begin(), head_rows.end())),
        half(entries * head_dim * 2),
        n(std::clamp<int64_t>(kColdBytes / bytes() + 1, 16, kLaunches)),
        rows(n * 2 * half),
        mask(std::string(size_t(entries) * 4, '\xff')),
        first(first_rows(head_rows)),
        visible(raw_bytes(head_rows)),
        q(size_t(heads.q_size()) * 2),
        out(size_t(heads.q_size()) * 2),
        workspace(cuda::attention_decode_workspace_bytes(heads, 1)),
        exchange(cuda::attention_decode_exchange_bytes(heads, 1, gpu)),
        sink(4) {
    cuda::fill_random(rows.data, DType::kBF16, uint64_t(n * half), 1, 1, nullptr);
    cuda::fill_random(q.data(), DType::kBF16, uint64_t(heads.q_size()), 2, 1, nullptr);
  }

  /// Of keys, values and masks.
  int64_t bytes() const { return 2 * half + entries * 4; }

  void attend(int64_t layer, bool fast, cuda::Stream stream) const {
    std::byte* k = rows.at(layer % n * 2 * half);
    cuda::attention_decode({.type = DType::kBF16,
                            .n = 1,
                            .q = q.data(),
                            .out = out.data(),
                            .workspace = workspace.data(),
                            .exchange = fast ? exchange.data() : nullptr,
                            .heads = heads,
                            .kv = {.k = k,
                                   .v = k + half,
                                   .mask = mask.as<uint32_t>(),
                                   .first = first.as<int64_t>(),
                                   .slot = visible.as<int32_t>(),
                                   .visible = visible.as<int32_t>(),
                                   .capacity = capacity,
                                   .entries = entries},
                            .gpu = gpu},
                           stream);
  }
  void read(int64_t layer, cuda::Stream stream) const {
    read_once(rows.at(layer % n * 2 * half), uint64_t(2 * half), sink.as<uint32_t>(),
              gpu.multiprocessors, stream);
  }

  cuda::Heads heads;
  cuda::Gpu gpu;
  int64_t entries, capacity, half, n;  // half: bytes of a layer's keys
  Room rows;
  DeviceBuffer mask, first, visible, q, out, workspace, exchange, sink;
};

/// Of one of kLaunches calls in a graph, in us.
double chain_us(const std::function<void(int64_t, cuda::Stream)>& call) {
  cudaStream_t stream = nullptr;
  cuda::check_cuda(cudaStreamCreate(&stream), "make a stream");
  const auto recording = cuda::make_recording(
      [&] {
        for (int64_t l = 0; l < kLaunches; ++l) call(l, stream);
      },
      stream, true);
  const double us = median_us([&] { recording->run(); }) / kLaunches;
  (void)cudaStreamDestroy(stream);
  return us;
}

void time_case(const char* name, int64_t head_dim, const std::vector<int32_t>& rows) {
  const Layers layers(head_dim, rows);
  const double fast = chain_us([&](int64_t l, cuda::Stream s) { layers.attend(l, true, s); });
  const double plain = chain_us([&](int64_t l, cuda::Stream s) { layers.attend(l, false, s); });
  const double read = chain_us([&](int64_t l, cuda::Stream s) { layers.read(l, s); });
  int64_t layer = 0;
  const double alone = median_us([&] { layers.attend(layer++, true, nullptr); });
  const auto bytes = static_cast<double>(layers.bytes());
  char line[200];
  (void)std::snprintf(line, sizeof(line),
                      "%-18s D %3d  %8.2f MB  chain %7.2f us %5.0f GB/s  alone %7.2f us  "
                      "read %7.2f us %5.0f GB/s  plain kernel %7.2f us",
                      name, static_cast<int>(head_dim), bytes / 1e6, fast, bytes / fast / 1e3,
                      alone, read, bytes / read / 1e3, plain);
  MESSAGE(std::string(line));
}

std::vector<int32_t> same_rows(int32_t rows) {
  return std::vector<int32_t>(kKvHeads, rows);
}

}  // namespace

TEST_CASE("timing: decode attention" * doctest::skip()) {
  NEEDS_GPU();
  {
    const cuda::Gpu gpu = cuda::current_gpu();
    const int64_t bytes = int64_t{4} << 30;
    const Room room(bytes);
    const DeviceBuffer sink(4);
    cuda::fill_random(room.data, DType::kBF16, uint64_t(bytes / 2), 1, 1, nullptr);
    const double us = median_us([&] {
      read_once(room.data, uint64_t(bytes), sink.as<uint32_t>(), gpu.multiprocessors, nullptr);
    });
    MESSAGE("read ceiling, 4 GiB at once: ", double(bytes) / us / 1e3, " GB/s");
  }
  for (const int64_t head_dim : {128, 64}) {
    for (const int32_t rows : {512, 2048, 2049, 2100, 8192, 32'768, 131'072}) {
      time_case(("rows " + std::to_string(rows)).c_str(), head_dim, same_rows(rows));
    }
    const std::vector<int32_t> of_16384 = {4096, 615, 2458, 1024, 3277, 1843, 204, 2867};
    time_case("ragged, 2048 each", head_dim, of_16384);
    std::vector<int32_t> long_rows = of_16384;
    for (int32_t& n : long_rows) n *= 16;
    time_case("ragged, 32768 each", head_dim, long_rows);
  }
}
