// What a run keeps of its K/V rows: as the user asks for it, and as numbers for one model and one
// prompt.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>

#include "src/base/dtype.h"
#include "src/kv/policy.h"
#include "weights/config.h"

namespace winnow {

/// A budget as it is written: "2048", "10%" or "512M".
struct KvBudget {
  enum class Unit {
    kRows,     // of every KV head
    kPercent,  // of the prompt's rows, over 0 and at most 100
    kBytes,    // of all layers and KV heads together
  };
  Unit unit = Unit::kRows;
  double amount = 0;
};

/// The budget as a user writes it: "2048", "10%", "512M".
std::string budget_text(const KvBudget& budget);

/// In which order a first prompt that the budget does not hold is read, and when rows are dropped.
enum class PrefillOrder {
  kLayer,    // the whole prompt through a layer, whose rows are dropped before the next one
  kChunk,    // a chunk through all layers, whose rows are dropped before the next one; its own last
             // queries score it
  kPatched,  // the same, but the prompt's last queries score it: they are read behind every chunk
};

/// The --kv options of the command line.
struct KvOptions {
  std::string policy = "full";          // one of policy_names()
  std::optional<KvBudget> budget = {};  // given exactly where the policy is not full
  std::optional<int64_t> sink = {};     // instead of the method's own share
  std::optional<int64_t> recent = {};   // the same
  std::optional<Group> group = {};      // instead of the method's own
  bool fill = false;                    // what shared rows save is spent on a larger k
  bool reselect = false;                // later prompts: old and new rows are candidates together
  int64_t recompact = 0;                // generated tokens from selection to selection; 0: none
  bool places_in_cache = false;         // rows are rotated to their place in the cache
  PrefillOrder order = PrefillOrder::kLayer;
  int64_t evict_chunk = 8192;         // tokens of a chunk, where the order has chunks
  PolicyOptions policy_options = {};  // the method's own numbers
};

/// Fails with kUsage, naming the option, where one has no meaning for the method, or lacks another
/// one.
void check_kv(const KvOptions& options);

/// The same as numbers. As it stands here: every row is kept.
struct KvSettings {
  static constexpr int64_t kNoBudget = std::numeric_limits<int64_t>::max();

  std::shared_ptr<const Policy> policy;  // null: full
  int64_t budget = kNoBudget;            // rows of a KV head
  Shares shares;                         // of that budget
  Group group = Group::kHead;
  CutScope cut = CutScope::kList;
  bool fill = false;
  bool reselect = false;
  int64_t recompact = 0;
  bool places_in_cache = false;
  PrefillOrder order = PrefillOrder::kLayer;
  int64_t evict_chunk = 0;
  Paging paging;  // where a method reads pages, it drops no row: the budget is what it reads

  /// What rows have beside the usual.
  RowExtras extras() const;

  /// Whether a first prompt of `n` tokens is read chunk by chunk.
  bool reads_chunks(int64_t n) const { return order != PrefillOrder::kLayer && exceeds(n); }

  /// The most rows that a head keeps of `rows`.
  int64_t most_kept(int64_t rows) const;

  /// Whether a head that holds `rows` rows must drop some.
  bool exceeds(int64_t rows) const { return rows > budget && paging.n_read == 0; }

  /// Whether rows that are generated may go over others of a cache that was winnowed.
  bool replaces_rows() const {
    return policy && recompact == 0 && winnow::replaces_rows(policy->decode_rule());
  }

  /// Rows of a head that read `rows` and dropped what it must.
  int64_t left_of(int64_t rows) const { return exceeds(rows) ? budget : rows; }
};

/// For a first prompt of `prompt_tokens`. Fails like check_kv, and with kUsage where the budget is
/// too small for what the method always keeps, naming the option and the least that would do. A
/// budget that the prompt does not exceed, and that nothing is selected for later, may be smaller.
///
/// What is not given is the method's own share; but where the recent rows are given, the lists get
/// what is left (for streaming: the sinks). What does not divide by the lists goes to the recent
/// rows: sink + lists * k + recent == budget.
KvSettings resolve_kv(const KvOptions& options, const ModelConfig& config, DType type,
                      int64_t prompt_tokens);

}  // namespace winnow
