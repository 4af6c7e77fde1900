#include "src/arena.h"

#include <algorithm>
#include <iomanip>
#include <limits>
#include <sstream>
#include <utility>

#include "src/base/checked.h"
#include "src/base/error.h"
#include "src/base/format_bytes.h"

namespace winnow {
namespace {

constexpr uint8_t kPoison = 0xFF;  // NaN in F32, F16 and BF16

}  // namespace

Placement default_placement() {
#ifdef WINNOW_ARENA_APART
  return Placement::kApart;
#else
  return Placement::kPacked;
#endif
}

Region::Region(Arena& arena, std::string_view name, uint64_t reserve_bytes)
    : arena_(arena), name_(name) {
  const uint64_t wanted = std::max(reserve_bytes, uint64_t{1});
  const auto rounded = checked_round_up(wanted, source().page_bytes());
  if (!rounded) {
    fail(ExitCode::kMemory, "region ", quoted(name_), ": cannot reserve ", wanted,
         " bytes of address space");
  }
  reserved_ = *rounded;
  if (!packed()) return;
  try {
    base_ = source().reserve(reserved_);
  } catch (const Error& error) {
    fail(error.code(), "region ", quoted(name_), ": ", error.what());
  }
}

Region::~Region() {
  free_from(0);
  if (base_ != nullptr) source().unreserve(base_, reserved_);
}

bool Region::packed() const {
  return arena_.placement_ == Placement::kPacked;
}

PageSource& Region::source() const {
  return *arena_.pages_;
}

void* Region::allocate(std::string_view name, uint64_t bytes) {
  bytes = std::max(bytes, uint64_t{1});
  const uint64_t begin = (top_ + kAlignment - 1) / kAlignment * kAlignment;  // top_ <= reserved_
  const auto end = checked_add(begin, bytes);
  if (!end || *end > reserved_) fail_full(name, bytes, "the reservation is full");

  // Everything that can fail comes before the first counter changes.
  allocations_.push_back({std::string(name), next_serial_, begin, bytes, nullptr, true});
  try {
    commit(allocations_.back());
  } catch (const Error& error) {
    allocations_.pop_back();
    if (error.code() != ExitCode::kMemory) throw;
    fail_full(name, bytes, error.what());
  } catch (...) {
    allocations_.pop_back();
    throw;
  }
  top_ = *end;
  ++next_serial_;
  return allocations_.back().data;
}

uint64_t Region::array_bytes(std::string_view name, int64_t n, uint64_t element_bytes) {
  WINNOW_CHECK(n >= 0, "allocation ", quoted(name), " of ", n, " elements");
  const auto bytes = checked_mul(static_cast<uint64_t>(n), element_bytes);
  if (!bytes) {
    fail(ExitCode::kMemory, "allocation ", quoted(name), ": ", n, " elements of ", element_bytes,
         " bytes do not fit into 64 bits");
  }
  return *bytes;
}

Region::Pages Region::pages_of(const Allocation& allocation) const {
  const uint64_t page = source().page_bytes();
  return {allocation.begin / page, (allocation.end() - 1) / page + 1};
}

/// Puts memory behind a new allocation. Its first page may have some already; the rest has none,
/// since nothing lies above.
void Region::commit(Allocation& allocation) {
  if (!packed()) {
    allocation.data = source().allocate_apart(allocation.bytes);
    source().fill(allocation.data, allocation.bytes, kPoison);
    const auto bytes = static_cast<int64_t>(allocation.bytes);
    return count(bytes, bytes);
  }
  const uint64_t page = source().page_bytes();
  const Pages pages = pages_of(allocation);
  if (page_users_.size() < pages.last) page_users_.resize(pages.last);

  const uint64_t used = pages.first + (page_users_[pages.first] > 0 ? 1 : 0);
  const uint64_t first_bare = std::min(std::max(used, spare_end_), pages.last);
  const uint64_t new_bytes = (pages.last - first_bare) * page;
  if (new_bytes > 0) source().commit(base_ + first_bare * page, new_bytes);

  allocation.data = base_ + allocation.begin;
  for (uint64_t i = pages.first; i < pages.last; ++i) ++page_users_[i];
  count(static_cast<int64_t>(allocation.bytes), static_cast<int64_t>(new_bytes));
}

uint64_t Region::first_free_page() const {
  return top_ == 0 ? 0 : (top_ - 1) / source().page_bytes() + 1;
}

void Region::prepare(uint64_t bytes) {
  const auto end = checked_add(top_, bytes);
  if (!end || *end > reserved_) fail_full("memory ahead", bytes, "the reservation is full");
  if (!packed()) return;
  const uint64_t page = source().page_bytes();
  const uint64_t first = std::max(first_free_page(), spare_end_);
  const uint64_t last = (*end + page - 1) / page;
  if (last <= first) return;
  try {
    source().commit(base_ + first * page, (last - first) * page, true);
  } catch (const Error& error) {
    if (error.code() != ExitCode::kMemory) throw;
    fail_full("memory ahead", bytes, error.what());
  }
  spare_end_ = last;
  count(0, static_cast<int64_t>((last - first) * page));
}

void Region::return_spare() {
  const uint64_t page = source().page_bytes();
  const uint64_t first = first_free_page();
  if (spare_end_ > first) {
    const uint64_t bytes = (spare_end_ - first) * page;
    source().decommit(base_ + first * page, bytes);
    count(0, -static_cast<int64_t>(bytes));
  }
  spare_end_ = 0;
}

/// Takes the memory from a live allocation. Only its first and its last page can have other users,
/// so the pages left without one are one run.
void Region::release(Allocation& allocation) {
  allocation.live = false;
  const auto bytes = static_cast<int64_t>(allocation.bytes);
  if (!packed()) {
    source().free_apart(allocation.data, allocation.bytes);
    return count(-bytes, -bytes);
  }
  const uint64_t page = source().page_bytes();
  Pages bare = pages_of(allocation);
  for (uint64_t i = bare.first; i < bare.last; ++i) --page_users_[i];
  if (page_users_[bare.first] > 0) ++bare.first;
  if (bare.first < bare.last && page_users_[bare.last - 1] > 0) --bare.last;

  const uint64_t old_bytes = (bare.last - bare.first) * page;
  if (old_bytes > 0) source().decommit(base_ + bare.first * page, old_bytes);
  count(-bytes, -static_cast<int64_t>(old_bytes));
}

void Region::rewind(Mark mark) {
  WINNOW_CHECK(mark.serial <= next_serial_, "region ", quoted(name_),
               ": not a mark of this region");
  free_from(mark.serial);
}

void Region::free_from(uint64_t serial) {
  return_spare();
  while (!allocations_.empty() && allocations_.back().serial >= serial) {
    if (allocations_.back().live) release(allocations_.back());
    allocations_.pop_back();
  }
  drop_dead_top();
}

void Region::give_back(const void* allocation) {
  const auto found =
      std::find_if(allocations_.rbegin(), allocations_.rend(),
                   [&](const Allocation& a) { return a.live && a.data == allocation; });
  WINNOW_CHECK(found != allocations_.rend(), "region ", quoted(name_),
               ": not a live allocation of this region");
  return_spare();
  release(*found);
  drop_dead_top();
}

void Region::drop_dead_top() {
  while (!allocations_.empty() && !allocations_.back().live) allocations_.pop_back();
  top_ = allocations_.empty() ? 0 : allocations_.back().end();
}

void Region::count(int64_t used_change, int64_t committed_change) {
  const auto used =
      static_cast<uint64_t>(used_change);  // unsigned sums wrap, so this also subtracts
  const auto committed = static_cast<uint64_t>(committed_change);
  used_ += used;
  committed_ += committed;
  arena_.used_ += used;
  arena_.committed_ += committed;
  arena_.high_water_ = std::max(arena_.high_water_, arena_.committed_);
}

void Region::fail_full(std::string_view name, uint64_t bytes, std::string_view why) const {
  fail(ExitCode::kMemory, "out of memory: ", quoted(name), " in region ", quoted(name_), " needs ",
       bytes, " bytes (", format_bytes(bytes), "): ", why, "; the region holds ",
       format_bytes(top_), " of ", format_bytes(reserved_), " reserved and ",
       format_bytes(committed_), " committed, the arena ", format_bytes(arena_.committed_),
       " committed");
}

Arena::Arena(std::unique_ptr<PageSource> pages, Placement placement)
    : pages_(std::move(pages)), placement_(placement) {}

// Regions count down in their arena: they go before its counters do.
Arena::~Arena() {
  regions_.clear();
}

Region& Arena::add_region(std::string_view name, uint64_t reserve_bytes) {
  for (const auto& region : regions_) {
    WINNOW_CHECK(region->name_ != name, "two regions named ", quoted(name));
  }
  regions_.push_back(std::unique_ptr<Region>(new Region(*this, name, reserve_bytes)));
  return *regions_.back();
}

std::string Arena::report() const {
  std::ostringstream out;
  const auto row = [&](std::string_view bytes) -> std::ostream& {
    return out << std::setw(12) << bytes << "  ";
  };
  for (const auto& region : regions_) {
    row(format_bytes(region->used_))
        << region->name_ << ": " << format_bytes(region->committed_) << " committed, "
        << format_bytes(region->reserved_) << " reserved\n";
    std::vector<const Region::Allocation*> live;
    for (const auto& allocation : region->allocations_) {
      if (allocation.live) live.push_back(&allocation);
    }
    std::stable_sort(live.begin(), live.end(),
                     [](const auto* a, const auto* b) { return a->bytes > b->bytes; });
    for (const auto* allocation : live) {
      row(format_bytes(allocation->bytes)) << "  " << quoted(allocation->name) << '\n';
    }
  }
  row(format_bytes(used_)) << "arena: " << format_bytes(committed_) << " committed, "
                           << format_bytes(high_water_) << " at the most\n";
  return out.str();
}

}  // namespace winnow
