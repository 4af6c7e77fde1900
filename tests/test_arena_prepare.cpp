// Memory that an arena commits ahead of its use.
#include <doctest/doctest.h>

#include <cstring>
#include <memory>

#include "src/arena.h"
#include "tests/support/failing_pages.h"

using namespace winnow;
using namespace winnow::test;

TEST_CASE("arena: memory that was prepared is used, and what is left of it goes back") {
  FailingPages::State state;
  Arena arena(std::make_unique<FailingPages>(state), Placement::kPacked);
  Region& region = arena.add_region("kv", 40 * kPage);
  region.allocate("first", kMiB);
  CHECK(region.committed() == kPage);
  region.prepare(5 * kPage);
  CHECK(region.committed() == 6 * kPage);
  CHECK(region.used() == kMiB);
  region.prepare(3 * kPage);  // there already
  CHECK(region.committed() == 6 * kPage);

  state.commits_before_failure = 0;  // so nothing below takes new pages
  auto* a = static_cast<char*>(region.allocate("a", 2 * kPage));
  std::memset(a, 1, 2 * kPage);
  auto* b = static_cast<char*>(region.allocate("b", kPage / 4));
  std::memset(b, 2, kPage / 4);
  CHECK(region.committed() == 6 * kPage);
  region.return_spare();
  CHECK(region.committed() == 3 * kPage);  // "first", a and b end at 2.75 pages
  CHECK(uint64_t(state.committed) == region.committed());
  CHECK(a[2 * kPage - 1] == 1);
  CHECK(b[kPage / 4 - 1] == 2);
}

TEST_CASE(
    "arena: prepared memory goes back when anything is freed, and what cannot be prepared changes "
    "nothing") {
  FailingPages::State state;
  Arena arena(std::make_unique<FailingPages>(state), Placement::kPacked);
  Region& region = arena.add_region("kv", 10 * kPage);
  void* a = region.allocate("a", kPage);
  const Region::Mark mark = region.mark();
  region.allocate("b", kPage / 2);
  region.prepare(4 * kPage);
  CHECK(region.committed() == 6 * kPage);
  region.give_back(a);
  CHECK(region.committed() == kPage);
  region.prepare(4 * kPage);
  region.rewind(mark);
  CHECK(region.committed() == 0);
  CHECK(state.committed == 0);

  CHECK(code_of([&] { region.prepare(11 * kPage); }) == ExitCode::kMemory);
  state.commits_before_failure = 0;
  CHECK(code_of([&] { region.prepare(kPage); }) == ExitCode::kMemory);
  CHECK(region.committed() == 0);
  state.commits_before_failure = 100;
  region.prepare(2 * kPage);
  region.allocate("longer than what was prepared", 3 * kPage);
  CHECK(region.committed() == 3 * kPage);
  CHECK(uint64_t(state.committed) == region.committed());
}
