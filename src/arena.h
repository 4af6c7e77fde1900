// The arena: every large block of a run comes from here, by name, so that one report says where the
// memory went, and what is given back is really given back.
//
//   address space  [ weights ......... | kv ................ | scratch ........... ]  reserved once
//   memory         [ ########          | ####                | ######              ]  page by page
//
// A region is a stack: allocations lie one after the other, a mark remembers the top, and a rewind
// returns every whole page above it to the system. Inside the stack, give_back returns the pages of
// an allocation that is no longer needed:
//
//   pages          |      0       |      1       |      2       |      3       |
//   allocations    [a][            b              ][      c      ][d]
//   give_back(b)   [a]            |  given back  | [      c      ][d]
//
// One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace winnow {

/// Address space and the memory behind it. One implementation a device. What gives memory back
/// never fails, so that it may run while an error travels up.
class PageSource {
 public:
  virtual ~PageSource() = default;

  /// Unit of commit and decommit, in bytes; a power of two.
  virtual uint64_t page_bytes() const = 0;

  /// Address space without memory, aligned to page_bytes(); `bytes` is a multiple of page_bytes().
  /// Fails with kMemory.
  virtual std::byte* reserve(uint64_t bytes) = 0;

  /// Ends a whole reservation, all of whose pages are decommitted.
  virtual void unreserve(std::byte* base, uint64_t bytes) = 0;

  /// Memory behind whole pages of a reservation. `single`: any of the pages can be decommitted
  /// alone; otherwise the last one can, and the others together. Fails with kMemory and changes
  /// nothing then.
  virtual void commit(std::byte* at, uint64_t bytes, bool single = false) = 0;

  /// Returns whole pages to the system; what they held is lost.
  virtual void decommit(std::byte* at, uint64_t bytes) = 0;

  /// One block of its own, as a memory checker wants it, aligned to Region::kAlignment. For the
  /// debug build. Fails with kMemory.
  virtual std::byte* allocate_apart(uint64_t bytes) = 0;
  virtual void free_apart(std::byte* block, uint64_t bytes) = 0;

  /// Fills memory with one byte value: the debug build's poison.
  virtual void fill(std::byte* at, uint64_t bytes, uint8_t value) = 0;
};

/// Pages of host memory: mmap, mprotect, madvise.
std::unique_ptr<PageSource> make_host_pages();

/// How an arena places its allocations.
enum class Placement {
  kPacked,  // one after the other, in one reservation a region
  kApart,   // each in a block of its own, filled with 0xFF (NaN in every type): for memory checkers
};

/// kApart where the build says so (-DWINNOW_ARENA_APART), else kPacked.
Placement default_placement();

class Arena;

/// A named stack of named allocations. Made by Arena::add_region; not copied, not moved.
class Region {
 public:
  static constexpr uint64_t kAlignment = 256;

  /// A moment: everything allocated later has at least this serial number. (A count would not do:
  /// give_back may shorten the stack below a mark.)
  struct Mark {
    uint64_t serial = 0;
  };

  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  /// `bytes` bytes, aligned to kAlignment, not initialised. 0 counts as 1, so that every allocation
  /// has an address of its own. Fails with kMemory where the reservation or the system's memory is
  /// used up, and changes nothing then.
  void* allocate(std::string_view name, uint64_t bytes);

  /// The same for `n` elements of T; n * sizeof(T) is checked.
  template <class T>
  T* allocate_array(std::string_view name, int64_t n) {
    return static_cast<T*>(allocate(name, array_bytes(name, n, sizeof(T))));
  }

  /// Puts memory behind the next `bytes` bytes to be allocated, while there is time for it: later
  /// allocations then find it there. What they leave of it goes back with return_spare(), or when
  /// anything is freed. Fails like allocate, and changes nothing then.
  void prepare(uint64_t bytes);
  void return_spare();

  Mark mark() const { return {next_serial_}; }

  /// Frees every allocation made since `mark` and returns the whole pages above the new top.
  void rewind(Mark mark);

  /// Frees one allocation. Its pages that no live allocation shares go back to the system at once,
  /// its address space when everything above it is freed. Any other pointer is an internal error.
  void give_back(const void* allocation);

  const std::string& name() const { return name_; }
  uint64_t used() const { return used_; }            // bytes in live allocations
  uint64_t committed() const { return committed_; }  // bytes of memory behind the region

  /// The address space; nothing where every allocation is a block of its own.
  std::span<const std::byte> reservation() const {
    return {base_, base_ == nullptr ? 0 : reserved_};
  }

 private:
  friend class Arena;
  struct Allocation {
    std::string name;
    uint64_t serial = 0;
    uint64_t begin = 0;  // offset from base_
    uint64_t bytes = 0;
    std::byte* data = nullptr;  // base_ + begin, or a block of its own
    bool live = true;

    uint64_t end() const { return begin + bytes; }
  };
  struct Pages {  // page numbers, [first, last)
    uint64_t first = 0;
    uint64_t last = 0;
  };

  Region(Arena& arena, std::string_view name, uint64_t reserve_bytes);
  static uint64_t array_bytes(std::string_view name, int64_t n, uint64_t element_bytes);

  bool packed() const;
  PageSource& source() const;
  Pages pages_of(const Allocation& allocation) const;
  void commit(Allocation& allocation);
  uint64_t first_free_page() const;
  void free_from(uint64_t serial);
  void release(Allocation& allocation);
  void drop_dead_top();
  void count(int64_t used_change, int64_t committed_change);
  [[noreturn]] void fail_full(std::string_view name, uint64_t bytes, std::string_view why) const;

  Arena& arena_;
  std::string name_;
  std::byte* base_ = nullptr;  // null where every allocation is a block of its own
  uint64_t reserved_ = 0;
  uint64_t top_ = 0;  // first free byte, from base_
  uint64_t used_ = 0;
  uint64_t committed_ = 0;
  uint64_t next_serial_ = 0;
  uint64_t spare_end_ = 0;               // free pages below this number have memory
  std::vector<Allocation> allocations_;  // by address; the last one is live
  std::vector<uint32_t> page_users_;     // live allocations on each page; it has memory where > 0
};

/// Owns the regions and counts what they hold.
class Arena {
 public:
  explicit Arena(std::unique_ptr<PageSource> pages, Placement placement = default_placement());
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// A new region with address space for `reserve_bytes`, rounded up to pages. Each allocation
  /// takes its bytes rounded up to Region::kAlignment of it. Names are unique. Fails with kMemory.
  Region& add_region(std::string_view name, uint64_t reserve_bytes);

  uint64_t used() const { return used_; }              // bytes in live allocations, now
  uint64_t committed() const { return committed_; }    // bytes of memory held, now
  uint64_t high_water() const { return high_water_; }  // the most that was ever committed

  /// A table of the live allocations by region, largest first, and the totals. One line each, the
  /// last one with a line end.
  std::string report() const;

 private:
  friend class Region;

  std::unique_ptr<PageSource> pages_;
  Placement placement_;
  std::vector<std::unique_ptr<Region>> regions_;
  uint64_t used_ = 0;
  uint64_t committed_ = 0;
  uint64_t high_water_ = 0;
};

}  // namespace winnow
