// The bookkeeping of the arena, in both placements, and on pages that can be made to fail.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "src/arena.h"
#include "src/base/error.h"
#include "tests/support/failing_pages.h"

using namespace winnow;
using namespace winnow::test;

TEST_CASE("arena: default_placement follows the build") {
#ifdef WINNOW_ARENA_APART
  CHECK(default_placement() == Placement::kApart);
#else
  CHECK(default_placement() == Placement::kPacked);
#endif
}

TEST_CASE("arena: allocations are aligned, apart, and counted") {
  for (const Placement placement : {Placement::kPacked, Placement::kApart}) {
    Arena arena(make_host_pages(), placement);
    Region& region = arena.add_region("weights", 64 * kMiB);
    CHECK(region.name() == "weights");
    std::vector<std::byte*> blocks;
    for (const uint64_t bytes : {uint64_t{1}, uint64_t{255}, uint64_t{256}, uint64_t{257}, kPage}) {
      auto* block = static_cast<std::byte*>(region.allocate("block", bytes));
      CHECK(reinterpret_cast<uintptr_t>(block) % Region::kAlignment == 0);
      for (const std::byte* other : blocks) CHECK(block != other);
      std::memset(block, 7, bytes);
      blocks.push_back(block);
    }
    CHECK(region.used() == 1 + 255 + 256 + 257 + kPage);
    CHECK(arena.used() == region.used());
    CHECK(arena.committed() == region.committed());
    CHECK(region.committed() == (placement == Placement::kPacked ? 2 * kPage : region.used()));
    CHECK(arena.high_water() == arena.committed());
  }
}

TEST_CASE("arena: allocations of zero bytes have addresses of their own") {
  for (const Placement placement : {Placement::kPacked, Placement::kApart}) {
    Arena arena(make_host_pages(), placement);
    Region& region = arena.add_region("r", kPage);
    void* a = region.allocate("a", 0);
    void* b = region.allocate("b", 0);
    float* c = region.allocate_array<float>("c", 0);
    CHECK(a != b);
    CHECK(b != static_cast<void*>(c));
    region.give_back(a);
    region.give_back(c);
    region.give_back(b);
    CHECK(arena.used() == 0);
    CHECK(arena.committed() == 0);
  }
}

TEST_CASE("arena: blocks placed apart are poisoned") {
  Arena arena(make_host_pages(), Placement::kApart);
  float* values = arena.add_region("r", kPage).allocate_array<float>("x", 100);
  for (int i = 0; i < 100; ++i) CHECK(values[i] != values[i]);
}

namespace {

/// Random calls on one region, next to a list of what must be alive.
class Player {
 public:
  Player(Region& region, uint32_t seed) : region_(region), random_(seed) {}

  void step() {
    const size_t action = below(10);
    if (action < 6) return allocate();
    if (action < 8) return give_back();
    if (action < 9) return set_mark();
    rewind();
  }

  uint64_t used() const {
    uint64_t bytes = 0;
    for (const Block& block : live_) bytes += std::max(block.bytes, uint64_t{1});
    return bytes;
  }

  bool patterns_are_intact() const {
    return std::all_of(live_.begin(), live_.end(), [](const Block& block) {
      return std::all_of(block.data, block.data + block.bytes,
                         [&](uint8_t byte) { return byte == block.pattern; });
    });
  }

 private:
  struct Block {
    uint8_t* data;
    uint64_t bytes;
    uint8_t pattern;
    int number;  // in the order of allocation
  };

  size_t below(size_t n) { return static_cast<size_t>(random_() % n); }

  void allocate() {
    const uint64_t bytes = below(4) == 0 ? below(5 * kMiB) : below(5000);
    void* data = nullptr;
    if (code_of([&] { data = region_.allocate("x", bytes); }) != ExitCode::kOk) return;
    const int number = n_made_++;
    live_.push_back({static_cast<uint8_t*>(data), bytes, static_cast<uint8_t>(number), number});
    std::memset(data, live_.back().pattern, bytes);
  }

  void give_back() {
    if (live_.empty()) return;
    const auto chosen = live_.begin() + static_cast<ptrdiff_t>(below(live_.size()));
    region_.give_back(chosen->data);
    live_.erase(chosen);
  }

  void set_mark() { marks_.emplace_back(region_.mark(), n_made_); }

  void rewind() {
    if (marks_.empty()) return;
    const auto [mark, n_before] = marks_.back();
    marks_.pop_back();
    region_.rewind(mark);
    std::erase_if(live_, [n = n_before](const Block& block) { return block.number >= n; });
  }

  Region& region_;
  std::mt19937 random_;
  int n_made_ = 0;
  std::vector<Block> live_;
  std::vector<std::pair<Region::Mark, int>> marks_;  // and how many blocks were made before
};

}  // namespace

TEST_CASE("arena: random allocations, rewinds and gifts never disturb live patterns") {
  for (const Placement placement : {Placement::kPacked, Placement::kApart}) {
    FailingPages::State pages;
    {
      Arena arena(std::make_unique<FailingPages>(pages), placement);
      Region& region = arena.add_region("r", 64 * kMiB);
      Player player(region, placement == Placement::kPacked ? 1 : 2);
      int64_t high_water = 0;
      for (int i = 0; i < 3000; ++i) {
        player.step();
        REQUIRE(region.used() == player.used());
        REQUIRE(arena.used() == player.used());
        REQUIRE(static_cast<int64_t>(region.committed()) == pages.committed);
        REQUIRE(arena.committed() == region.committed());
        if (placement == Placement::kApart) REQUIRE(region.committed() == player.used());
        high_water = std::max(high_water, pages.committed);
        REQUIRE(arena.high_water() == static_cast<uint64_t>(high_water));
        if (i % 50 == 0) REQUIRE(player.patterns_are_intact());
      }
      region.rewind({});
      CHECK(arena.used() == 0);
      CHECK(arena.committed() == 0);
    }
    CHECK(pages.committed == 0);
    CHECK(pages.reserved == 0);
  }
}

TEST_CASE("arena: give_back keeps pages that a live neighbour shares") {
  Arena arena(make_host_pages(), Placement::kPacked);
  Region& region = arena.add_region("r", 16 * kPage);
  void* a = region.allocate("a", kMiB);       // page 0
  void* b = region.allocate("b", 3 * kPage);  // pages 0 to 3
  void* c = region.allocate("c", kPage);      // pages 3 and 4
  CHECK(region.committed() == 5 * kPage);
  std::memset(a, 1, kMiB);
  std::memset(c, 3, kPage);
  region.give_back(b);
  CHECK(region.committed() == 3 * kPage);  // pages 0, 3 and 4
  CHECK(static_cast<uint8_t*>(a)[kMiB - 1] == 1);
  CHECK(static_cast<uint8_t*>(c)[0] == 3);
  region.give_back(a);
  CHECK(region.committed() == 2 * kPage);
  CHECK(static_cast<uint8_t*>(c)[kPage - 1] == 3);
  region.give_back(c);
  CHECK(region.committed() == 0);
  CHECK(region.allocate("again", 1) == a);  // the address space came back too
}

TEST_CASE("arena: a mark stays right when what lies below it is given back") {
  Arena arena(make_host_pages(), Placement::kPacked);
  Region& region = arena.add_region("r", 4 * kPage);
  void* a = region.allocate("a", 10);
  const Region::Mark mark = region.mark();
  region.give_back(a);
  region.allocate("b", 10);
  CHECK(region.used() == 10);
  region.rewind(mark);
  CHECK(region.used() == 0);
}

TEST_CASE("arena: a mark of another region is an internal error") {
  Arena arena(make_host_pages());
  Region& one = arena.add_region("one", kPage);
  Region& two = arena.add_region("two", kPage);
  one.allocate("a", 10);
  CHECK(code_of([&] { two.rewind(one.mark()); }) == ExitCode::kInternal);
}

TEST_CASE("arena: a full reservation fails, says why, and changes nothing") {
  for (const Placement placement : {Placement::kPacked, Placement::kApart}) {
    Arena arena(make_host_pages(), placement);
    Region& region = arena.add_region("kv", 2 * kPage);
    region.allocate("k", kPage);
    const std::string report = arena.report();
    for (const uint64_t bytes : {kPage + 1, uint64_t{1} << 63, UINT64_MAX}) {
      std::string message;
      CHECK(code_of([&] { region.allocate("v\n", bytes); }, &message) == ExitCode::kMemory);
      CHECK(message.find("'kv'") != std::string::npos);
      CHECK(message.find("'v\\x") != std::string::npos);
      CHECK(message.find(std::to_string(bytes) + " bytes") != std::string::npos);
      CHECK(message.find('\n') == std::string::npos);
    }
    CHECK(arena.report() == report);
    CHECK(arena.used() == kPage);
    region.allocate("v", kPage);  // exactly what is left
  }
}

TEST_CASE("arena: a refused page changes nothing, whichever it is") {
  for (const Placement placement : {Placement::kPacked, Placement::kApart}) {
    for (int n = 0; n < 4; ++n) {
      FailingPages::State pages;
      pages.commits_before_failure = n;
      Arena arena(std::make_unique<FailingPages>(pages), placement);
      Region& region = arena.add_region("r", 64 * kMiB);
      for (int i = 0; i < n; ++i) region.allocate("x", kPage);
      const std::string report = arena.report();
      const int64_t committed = pages.committed;
      std::string message;
      CHECK(code_of([&] { region.allocate("y", 3 * kPage); }, &message) == ExitCode::kMemory);
      CHECK(message.find("no more pages") != std::string::npos);
      CHECK(message.find("'y'") != std::string::npos);
      CHECK(arena.report() == report);
      CHECK(pages.committed == committed);
      CHECK(static_cast<int64_t>(arena.committed()) == committed);
      pages.commits_before_failure = 1;
      region.allocate("y", 3 * kPage);
      CHECK(region.used() == static_cast<uint64_t>(n + 3) * kPage);
    }
  }
}

TEST_CASE("arena: array sizes that overflow are refused") {
  Arena arena(make_host_pages());
  Region& region = arena.add_region("r", kPage);
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  CHECK(code_of([&] { region.allocate_array<double>("x", kMost); }) == ExitCode::kMemory);
  CHECK(code_of([&] { region.allocate_array<double>("x", -1); }) == ExitCode::kInternal);
  CHECK(arena.used() == 0);
}

TEST_CASE("arena: giving back twice, or what is not ours, is an internal error") {
  for (const Placement placement : {Placement::kPacked, Placement::kApart}) {
    Arena arena(make_host_pages(), placement);
    Region& region = arena.add_region("r", kPage);
    auto* a = static_cast<std::byte*>(region.allocate("a", 1000));
    region.allocate("b", 1000);
    CHECK(code_of([&] { region.give_back(a + 1); }) == ExitCode::kInternal);
    CHECK(code_of([&] { region.give_back(&arena); }) == ExitCode::kInternal);
    CHECK(code_of([&] { region.give_back(nullptr); }) == ExitCode::kInternal);
    region.give_back(a);
    CHECK(code_of([&] { region.give_back(a); }) == ExitCode::kInternal);
    CHECK(region.used() == 1000);
  }
}

TEST_CASE("arena: region names are unique") {
  Arena arena(make_host_pages());
  arena.add_region("r", kPage);
  CHECK(code_of([&] { arena.add_region("r", kPage); }) == ExitCode::kInternal);
}

TEST_CASE("arena: the report lists live allocations by region, largest first") {
  Arena arena(make_host_pages(), Placement::kPacked);
  Region& weights = arena.add_region("weights", 64 * kMiB);
  Region& kv = arena.add_region("kv", 64 * kMiB);
  weights.allocate("norm", 512);
  weights.allocate("embed", 3 * kMiB);
  void* gone = kv.allocate("layer 0", 4 * kMiB);
  kv.allocate("layer 1", 5 * kMiB);
  kv.give_back(gone);
  CHECK(arena.report() ==
        "     3.0 MiB  weights: 4.0 MiB committed, 64.0 MiB reserved\n"
        "     3.0 MiB    'embed'\n"
        "       512 B    'norm'\n"
        "     5.0 MiB  kv: 6.0 MiB committed, 64.0 MiB reserved\n"
        "     5.0 MiB    'layer 1'\n"
        "     8.0 MiB  arena: 10.0 MiB committed, 14.0 MiB at the most\n");
}
