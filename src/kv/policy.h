// An eviction method: what it says about the rows of a layer. One method, one small file.
//
// A method divides the budget of a KV head, scores the rows of the zone between, and says where a
// generated token's row goes. All else is done by the runtime, once for every method: scores of a
// group combined, exact top-k, compaction, positions, masks, rings, counting (src/kv/pass.h).
#pragma once

#include <cstdint>
#include <memory>
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

/// Where the row of a generated token goes.
enum class DecodeRule {
  kAppend,  // behind the others: the head grows
  kRing,    // over the oldest of the recent rows: it does not
};

/// A layer after all rows of a prompt went through it.
struct LayerScene {
  int64_t layer = 0;
  const void* last_query = nullptr;  // [n_heads, head_dim] T, of the prompt's last token
  KvRows rows;
  Zones zones;
};

class Policy {
 public:
  virtual ~Policy() = default;

  /// Its name on the command line.
  virtual std::string_view name() const = 0;

  /// The paper's division of a budget of `budget` rows, for groups of `group` query heads with
  /// `lists` lists: sink + lists * k + recent == budget, where that is possible.
  virtual Shares shares(int64_t budget, int64_t group, int64_t lists) const = 0;

  /// Whose lists there are unless the user says otherwise.
  virtual Group group() const { return Group::kHead; }

  /// Whether rows are scored at all; if not, k is 0.
  virtual bool scores_rows() const { return true; }

  virtual DecodeRule decode_rule() const { return DecodeRule::kRing; }

  /// Scores the rows [0, zones.rows[h]) for every query head, higher is better, -infinity where the
  /// query head does not see the row.  lists.n is n_heads
  virtual void score(Device& device, const LayerScene& scene, const ScoreLists& lists) const = 0;
};

/// The methods' names, in the order in which the help lists them.
std::vector<std::string_view> policy_names();

/// The method of that name, or null. `seed` is for methods that draw.
std::shared_ptr<const Policy> make_policy(std::string_view name, uint64_t seed);

}  // namespace winnow
