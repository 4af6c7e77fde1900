#include "src/kv/plan.h"

#include <algorithm>

#include "src/kv/chunks.h"

namespace winnow {
namespace {

/// The text so far, in the greatest sizes that it can have.
class Text {
 public:
  Text(const KvSettings& settings, int64_t capacity, const KvStart& start)
      : settings_(settings),
        capacity_(capacity),
        position_(start.position),
        rows_(start.rows),
        winnowed_(start.winnowed) {
    if (position_ > 0) plan_.room = winnowed_ ? rows_ + growth() : unwinnowed_room();
  }

  /// The same three ways as KvPass.
  void read(int64_t n) {
    const bool selects = position_ == 0 || settings_.reselect;
    const bool again = position_ > 0;
    if (!again && settings_.reads_chunks(n)) return read_chunks(n);
    if (plan_.prompt_rows > 0) plan_.prompt_rows = std::max(plan_.prompt_rows, n);
    position_ += n;
    if (selects && settings_.exceeds(rows_ + n)) {
      select(rows_ + n);
      plan_.twice = plan_.twice || again;
    } else if (!winnowed_ && again && settings_.recompact == 0 && settings_.extras().scores) {
      rows_ += n;  // copied, with as much room as it had
      plan_.room = unwinnowed_room();
      plan_.layer_rows = std::max(plan_.layer_rows, capacity_);
      plan_.twice = true;
    } else if (!winnowed_ && (settings_.recompact == 0 || !again)) {
      rows_ += n;
      plan_.room = unwinnowed_room();
    } else {
      rows_ += n;
      plan_.room = std::max(plan_.room, rows_ + growth());
      plan_.layer_rows = std::max(plan_.layer_rows, rows_ + growth());
      plan_.twice = true;
    }
  }

  /// A chunk's rows lie in the scratch beside what is left of those before it.
  void read_chunks(int64_t n) {
    position_ += n;
    winnowed_ = true;
    appends_ = true;
    rows_ = settings_.most_kept(n);
    plan_.prompt_rows = std::min(chunk_tokens(settings_), n + kPatchTokens);
    plan_.layer_rows = rows_ + plan_.prompt_rows;
    plan_.room = settings_.budget + growth();
    plan_.twice = true;
  }

  /// Tokens up to the capacity, with selections between them.
  void write() {
    if (settings_.recompact == 0 || capacity_ <= settings_.budget) return;
    select(std::min(std::max(rows_, settings_.budget) + settings_.recompact + 1, capacity_));
    plan_.twice = true;
  }

  const KvPlan& plan() const { return plan_; }

 private:
  int64_t unwinnowed_room() const {
    const int64_t before_selection = std::max(rows_, settings_.budget) + settings_.recompact;
    return settings_.recompact > 0 ? std::min(before_selection, capacity_) : capacity_;
  }

  int64_t growth() const {
    const int64_t to_come = capacity_ - position_;
    if (settings_.recompact > 0) return std::min(settings_.recompact, to_come);
    return settings_.replaces_rows() && !appends_ ? 0 : to_come;
  }

  void select(int64_t rows) {
    winnowed_ = true;
    plan_.layer_rows = std::max(plan_.layer_rows, rows);
    rows_ = settings_.most_kept(rows);  // of the longest head; on average the budget holds
    plan_.room = std::max(plan_.room, settings_.budget + growth());
  }

  const KvSettings& settings_;
  int64_t capacity_;
  int64_t position_ = 0;
  int64_t rows_ = 0;
  bool winnowed_ = false;
  bool appends_ = false;  // the prompt was read in chunks
  KvPlan plan_;
};

}  // namespace

KvPlan plan_kv(const KvSettings& settings, std::span<const int64_t> prompts, int64_t capacity,
               const KvStart& start) {
  Text text(settings, capacity, start);
  for (const int64_t n : prompts) text.read(n);
  text.write();
  return text.plan();
}

/// The longest prompt goes through the layer scratch with all rows before it. Where every prompt
/// selects, a head grows past the budget only by what is generated after a prompt that fits it.
KvPlan plan_kv_turns(const KvSettings& settings, int64_t turn_tokens, int64_t capacity) {
  if (!settings.policy) return {};
  KvPlan plan{.room = capacity, .twice = true, .layer_rows = capacity};
  if (!settings.reselect || settings.budget >= capacity) return plan;
  const int64_t growth = turn_tokens + settings.recompact;
  plan.room = std::min(capacity - settings.budget, growth) + settings.budget;
  return plan;
}

}  // namespace winnow
