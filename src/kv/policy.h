// An eviction method: what it says about the rows of a layer. One method, one small file.
//
// A method says what it wants to know, divides the budget of a KV head, scores the rows of the zone
// between, says how far a cut reaches and where a generated token's row goes. All else is done by
// the runtime, once for every method: queries and statistics collected, scores of a group combined,
// exact top-k, compaction, positions, masks, rings, counting (src/kv/pass.h).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "src/device.h"
#include "src/kv/rows.h"

namespace winnow {

/// How a KV head's budget is divided: the first rows and the last ones are kept as they are, and
/// each list takes its best k of those between.
struct Shares {
  int64_t sink = 0;
  int64_t k = 0;
  int64_t recent = 0;
};

/// Whose lists there are: each query head's own, or one a KV head, over its group's scores
/// combined.
enum class Group { kHead, kMean, kMax, kSum };

/// Lists that a KV head of `group` query heads has.
inline int64_t lists_of(Group how, int64_t group) {
  return how == Group::kHead ? group : 1;
}

/// Over which rows one cut is made. k is what a list gets on average.
enum class CutScope {
  kList,   // each list keeps its best k
  kLayer,  // the KV heads of a layer keep the best n_kv_heads * k of all their rows
  kModel,  // all KV heads of all layers keep the best n_layers * n_kv_heads * k
};

/// Where the row of a generated token goes.
enum class DecodeRule {
  kAppend,        // behind the others: the head grows
  kRing,          // over the oldest of the recent rows: it does not
  kReplaceLeast,  // over the row with the least KvRows::score of those that are not recent
};

/// Whether heads keep their size.
constexpr bool replaces_rows(DecodeRule rule) {
  return rule != DecodeRule::kAppend;
}

/// What laprox multiplies: attention alone, or with the value's length, or with the length of what
/// the output projection makes of the value.
enum class ScoreTerms { kAttention, kValue, kOutput };

/// What a method's numbers are where the user says so, and nothing where the method's own hold.
struct PolicyOptions {
  uint64_t seed = 0;                        // of methods that draw
  std::optional<int64_t> window = {};       // queries that score, from the last one back
  std::optional<int64_t> pool = {};         // odd: rows that a score is pooled over; 1: none
  std::optional<ScoreTerms> terms = {};     // laprox: what a score is made of
  std::optional<CutScope> cut = {};         // how far a cut reaches
  std::optional<bool> normalize = {};       // laprox: scores of a layer add up to 1
  std::optional<bool> pool_attention = {};  // laprox: attention is pooled, not the whole score
  std::optional<int64_t> chunk = {};        // chunkkv: neighbouring rows that stay or go together

  bool operator==(const PolicyOptions&) const = default;
};

/// No method wants more queries.
constexpr int64_t kMaxQueries = 64;
/// Nor does one pool over more rows.
constexpr int64_t kMaxPool = 255;

/// What a method wants to know of a layer, beside its rows.
struct Needs {
  int64_t queries = 1;            // of the prompt's last so many tokens; at most kMaxQueries
  bool o_factors = false;         // LayerWeights::o_factor
  bool query_statistics = false;  // of the prompt's queries before RoPE
  bool column_sums = false;       // KvRows::score: what each row got of all queries' attention
  int spares = 0;                 // sets of n_heads lists for score() to work with, at most 2
};

/// Which of PolicyOptions mean something to a method; all do whose cut can be chosen.
struct OwnOptions {
  bool window = false;
  bool pool = false;
  bool chunk = false;
  bool laprox = false;  // terms, normalize, pool_attention
};

/// A layer after all rows of a prompt went through it.
struct LayerScene {
  int64_t layer = 0;
  int64_t n_layers = 0;
  const void* queries = nullptr;  // [n_queries, n_heads, head_dim] T, of the prompt's last tokens
  int64_t n_queries = 0;          // Needs::queries, or all that there are
  const void* last_query = nullptr;       // [n_heads, head_dim] T: the last of them
  const LayerWeights* weights = nullptr;  // the layer's
  KvRows rows;
  Zones zones;
  std::array<ScoreLists, 2> spare = {};  // [n_heads, stride of the lists to fill]
  QueryStatistics statistics = {};       // where Needs::query_statistics says so
  Outlook outlook = {};                  // from the prompt's end, with what they are of
};

class Policy {
 public:
  virtual ~Policy() = default;

  /// Its name on the command line.
  virtual std::string_view name() const = 0;

  /// The paper's division of a budget of `budget` rows, for groups of `group` query heads with
  /// `lists` lists: sink + lists * k + recent == budget, where that is possible.
  virtual Shares shares(int64_t budget, int64_t group, int64_t lists) const = 0;

  /// What becomes of k in layer `layer` of `n_layers`, each with `candidates` rows between; the sum
  /// over the layers is n_layers * k.
  virtual int64_t layer_k(int64_t k, int64_t /*layer*/, int64_t /*n_layers*/,
                          int64_t /*candidates*/) const {
    return k;
  }

  /// The greatest that layer_k() makes of k.
  virtual int64_t most_layer_k(int64_t k) const { return k; }

  virtual Needs needs() const { return {}; }

  virtual OwnOptions own_options() const { return {}; }

  /// Whether rows can be dropped chunk by chunk of a prompt, by their chunk's own scores.
  virtual bool drops_chunks() const { return scores_rows(); }

  /// Whose lists there are unless the user says otherwise.
  virtual Group group() const { return Group::kHead; }

  /// Whether rows are scored at all; if not, k is 0.
  virtual bool scores_rows() const { return true; }

  /// Whether score() fills a list for each KV head; if not, for each query head.
  virtual bool scores_kv_heads() const { return false; }

  /// Whether a query head's scores are weights, which a group's mean, max or sum is taken of as
  /// they are; if not, it is taken of their softmax.
  virtual bool scores_are_weights() const { return false; }

  virtual CutScope cut() const { return CutScope::kList; }

  /// Where a cut is made over a layer: the share of k that every head gets whatever its scores.
  virtual double floor() const { return 0; }

  virtual DecodeRule decode_rule() const { return DecodeRule::kRing; }

  /// The pages that decode steps read for a budget of so many rows. A method that says so keeps
  /// every row: its budget is what a query head reads of them.
  virtual Paging paging(int64_t /*budget*/) const { return {}; }

  /// Scores the rows [0, zones.rows[h]) of every list, higher is better, -infinity where nobody
  /// who the list is for sees the row. What lies outside of the zone is not looked at.
  /// lists.n is n_heads, or n_kv_heads where scores_kv_heads()
  virtual void score(Device& device, const LayerScene& scene, const ScoreLists& lists) const = 0;
};

/// Whether no row is ever dropped.
inline bool keeps_every_row(const Policy& policy) {
  return policy.name() == "full" || policy.paging(1).n_read > 0;
}

/// The methods' names, in the order in which the help lists them.
std::vector<std::string_view> policy_names();

/// The method of that name, or null.
std::shared_ptr<const Policy> make_policy(std::string_view name, const PolicyOptions& options = {});

}  // namespace winnow
