// GPU memory: pages that really come and go, and the way of a file into them.
#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "cuda/pages.h"
#include "cuda/staging.h"
#include "src/arena.h"
#include "src/base/error.h"
#include "tests/gpu/gpu.h"
#include "tests/support/expect_error.h"
#include "tests/support/temp_dir.h"

using namespace winnow;
using namespace winnow::test;

namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kGiB = uint64_t{1} << 30;

/// A stream, made on device 0 and waited for at the end.
class TestStream {
 public:
  TestStream() { REQUIRE(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking) == 0); }
  ~TestStream() { cudaStreamDestroy(stream_); }
  TestStream(const TestStream&) = delete;
  TestStream& operator=(const TestStream&) = delete;
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

uint64_t free_bytes() {
  size_t free = 0;
  size_t total = 0;
  REQUIRE(cudaMemGetInfo(&free, &total) == cudaSuccess);
  return free;
}

/// Whether `free_bytes()` fell by about `bytes` since it was `before`: the driver has needs of its
/// own now and then.
bool fell_by(uint64_t before, uint64_t bytes) {
  const auto fell = static_cast<int64_t>(before) - static_cast<int64_t>(free_bytes());
  CAPTURE(fell);
  return std::abs(fell - static_cast<int64_t>(bytes)) < static_cast<int64_t>(32 * kMiB);
}

std::vector<uint8_t> bytes_at(const void* at, uint64_t n) {
  std::vector<uint8_t> bytes(n);
  REQUIRE(cudaMemcpy(bytes.data(), at, n, cudaMemcpyDeviceToHost) == cudaSuccess);
  return bytes;
}

void set_bytes(void* at, uint8_t value, uint64_t n) {
  REQUIRE(cudaMemset(at, value, n) == cudaSuccess);
  REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
}

/// Whether n bytes all have one value.
bool all_are(const void* at, uint8_t value, uint64_t n) {
  const std::vector<uint8_t> bytes = bytes_at(at, n);
  return std::ranges::all_of(bytes, [=](uint8_t byte) { return byte == value; });
}

/// An allocation and the byte that fills it.
struct Block {
  void* data = nullptr;
  uint64_t bytes = 0;
  uint8_t value = 0;
};

/// Allocates, gives back and rewinds at random, each block filled with its own byte, and looks
/// whether every live block still holds it.
void churn(Placement placement) {
  TestStream stream;
  Arena arena(cuda::make_cuda_pages(0, stream), placement);
  Region& region = arena.add_region("churn", kGiB);
  std::mt19937 random(7);
  std::vector<Block> blocks;
  for (int round = 0; round < 60; ++round) {
    const uint64_t bytes = random() % (round % 3 == 0 ? 300 : 7 * kMiB) + 1;
    const auto value = static_cast<uint8_t>(round + 1);
    blocks.push_back({region.allocate("block", bytes), bytes, value});
    set_bytes(blocks.back().data, value, bytes);
    if (round % 4 == 3) {
      const size_t gone = random() % blocks.size();
      region.give_back(blocks[gone].data);
      blocks.erase(blocks.begin() + static_cast<ptrdiff_t>(gone));
    }
    if (round % 10 == 9) {
      const Region::Mark mark = region.mark();
      set_bytes(region.allocate("above", 5 * kMiB), 0, 5 * kMiB);
      region.rewind(mark);
    }
    for (const Block& block : blocks) REQUIRE(all_are(block.data, block.value, block.bytes));
  }
  for (const Block& block : blocks) region.give_back(block.data);
  CHECK(arena.committed() == 0);
}

}  // namespace

TEST_CASE("pages: memory is taken by commit and given back by decommit") {
  NEEDS_GPU();
  TestStream stream;
  const auto pages = cuda::make_cuda_pages(0, stream);
  CHECK(pages->page_bytes() == 2 * kMiB);
  const uint64_t start = free_bytes();
  std::byte* base = pages->reserve(64 * kGiB);
  CHECK(reinterpret_cast<uintptr_t>(base) % pages->page_bytes() == 0);
  CHECK(fell_by(start, 0));

  pages->commit(base, kGiB);
  pages->commit(base + kGiB, 2 * kMiB);
  CHECK(fell_by(start, kGiB));
  set_bytes(base, 0x5A, kGiB + 2 * kMiB);

  pages->decommit(base, kGiB - 2 * kMiB);  // all of a commit but its last page
  CHECK(fell_by(start, 0));
  CHECK(all_are(base + kGiB - 2 * kMiB, 0x5A, 4 * kMiB));
  pages->decommit(base + kGiB - 2 * kMiB, 4 * kMiB);

  pages->commit(base, kGiB);  // and again
  set_bytes(base, 0x33, kGiB);
  pages->decommit(base, kGiB);
  pages->unreserve(base, 64 * kGiB);
  CHECK(fell_by(start, 0));
}

TEST_CASE("pages: blocks apart are aligned, filled, and given back") {
  NEEDS_GPU();
  TestStream stream;
  const auto pages = cuda::make_cuda_pages(0, stream);
  const uint64_t start = free_bytes();
  std::byte* block = pages->allocate_apart(256 * kMiB + 1);
  CHECK(reinterpret_cast<uintptr_t>(block) % Region::kAlignment == 0);
  CHECK(fell_by(start, 256 * kMiB));
  pages->fill(block, 256 * kMiB + 1, 0xFF);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(all_are(block + 256 * kMiB - 100, 0xFF, 101));
  pages->free_apart(block, 256 * kMiB + 1);
  CHECK(fell_by(start, 0));
}

TEST_CASE("pages: what cannot be had is an out-of-memory error, and changes nothing") {
  NEEDS_GPU();
  for (const Placement placement : {Placement::kPacked, Placement::kApart}) {
    TestStream stream;
    Arena arena(cuda::make_cuda_pages(0, stream), placement);
    Region& region = arena.add_region("much", 1024 * kGiB);
    void* before = region.allocate("before", 3 * kMiB);
    set_bytes(before, 0x21, 3 * kMiB);
    const uint64_t committed = arena.committed();
    const uint64_t free = free_bytes();
    expect_error(ExitCode::kMemory, {"'too much'", "'much'", "GPU"},
                 [&] { region.allocate("too much", 1000 * kGiB); });
    CHECK(arena.committed() == committed);
    CHECK(fell_by(free, 0));
    void* after = region.allocate("after", 3 * kMiB);
    set_bytes(after, 0x22, 3 * kMiB);
    CHECK(all_are(before, 0x21, 3 * kMiB));
    CHECK(cudaGetLastError() == cudaSuccess);
  }
}

TEST_CASE("arena on the GPU: live blocks keep their bytes while others come and go") {
  NEEDS_GPU();
  churn(Placement::kPacked);
  churn(Placement::kApart);
}

TEST_CASE("arena on the GPU: addresses beyond 2^32 bytes are memory of their own") {
  NEEDS_GPU();
  TestStream stream;
  Arena arena(cuda::make_cuda_pages(0, stream), Placement::kPacked);
  Region& region = arena.add_region("large", 5 * kGiB);
  auto* at = static_cast<std::byte*>(region.allocate("large", 4 * kGiB + 64 * kMiB));
  set_bytes(at, 0x11, 64 * kMiB);
  set_bytes(at + 4 * kGiB - kMiB, 0x22, 65 * kMiB);
  CHECK(all_are(at, 0x11, 64 * kMiB));
  CHECK(all_are(at + 4 * kGiB - kMiB, 0x22, 65 * kMiB));
}

TEST_CASE("staging: the bytes of a file arrive, for any size and offset") {
  NEEDS_GPU();
  constexpr uint64_t kBuffer = cuda::Staging::kBufferBytes;
  const TempDir dir;
  std::string content(3 * kBuffer + 4099, '\0');
  std::mt19937_64 random(3);
  for (size_t i = 0; i + 8 <= content.size(); i += 8) {
    const uint64_t bits = random();
    std::memcpy(&content[i], &bits, 8);
  }
  write_file(dir / "weights", content);
  const File file = File::open(dir / "weights");

  TestStream stream;
  const auto pages = cuda::make_cuda_pages(0, stream);
  std::byte* to = pages->allocate_apart(content.size() + 1);
  cuda::Staging staging(stream);
  const uint64_t sizes[] = {1,
                            2,
                            4097,
                            kMiB - 1,
                            kMiB + 1,
                            kBuffer - 1,
                            kBuffer,
                            kBuffer + 1,
                            2 * kBuffer - 1,
                            2 * kBuffer,
                            2 * kBuffer + 1,
                            3 * kBuffer};
  for (const uint64_t offset : {0, 1, 513, 4096}) {
    for (const uint64_t bytes : sizes) {
      CAPTURE(offset);
      CAPTURE(bytes);
      set_bytes(to, 0xEE, bytes + 1);
      staging.read(to, file, offset, bytes);
      REQUIRE(cudaStreamSynchronize(stream) == cudaSuccess);
      const std::vector<uint8_t> arrived = bytes_at(to, bytes + 1);
      CHECK(std::memcmp(arrived.data(), &content[offset], bytes) == 0);
      CHECK(arrived.back() == 0xEE);
    }
  }
  pages->free_apart(to, content.size() + 1);
}

TEST_CASE("staging: many small reads one after the other do not overwrite each other") {
  NEEDS_GPU();
  const TempDir dir;
  std::string content(200'000, '\0');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 31 % 251);
  write_file(dir / "weights", content);
  const File file = File::open(dir / "weights");
  TestStream stream;
  const auto pages = cuda::make_cuda_pages(0, stream);
  std::byte* to = pages->allocate_apart(content.size());
  cuda::Staging staging(stream);
  for (uint64_t at = 0; at < content.size(); at += 1000) staging.read(to + at, file, at, 1000);
  REQUIRE(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(std::memcmp(bytes_at(to, content.size()).data(), content.data(), content.size()) == 0);
  pages->free_apart(to, content.size());
}

TEST_CASE("staging: a file that ends too early is an input error") {
  NEEDS_GPU();
  const TempDir dir;
  write_file(dir / "short", std::string(3 * kMiB, 'x'));
  const File file = File::open(dir / "short");
  TestStream stream;
  const auto pages = cuda::make_cuda_pages(0, stream);
  std::byte* to = pages->allocate_apart(8 * kMiB);
  {
    cuda::Staging staging(stream);
    expect_error(ExitCode::kIo, {"short"}, [&] { staging.read(to, file, 0, 3 * kMiB + 1); });
    expect_error(ExitCode::kIo, {"short"}, [&] { staging.read(to, file, 5 * kMiB, kMiB / 2); });
    staging.read(to, file, 0, 3 * kMiB);
  }
  CHECK(all_are(to, 'x', 3 * kMiB));
  pages->free_apart(to, 8 * kMiB);
}
