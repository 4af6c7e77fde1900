#include "src/kv/cache_file.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <span>
#include <utility>

#include "src/base/checked.h"
#include "src/base/crc32c.h"
#include "src/base/error.h"
#include "src/base/fnv.h"

namespace winnow {
namespace {

constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();
constexpr uint64_t kHeadBytes = 3 * sizeof(uint32_t);

constexpr uint32_t kFill = 1;
constexpr uint32_t kReselect = 2;
constexpr uint32_t kPlacesInCache = 4;

/// Numbers of a header, refused by name where they are out of range.
class HeaderChecker {
 public:
  explicit HeaderChecker(const std::string& name) : name_(name) {}

  template <class T>
  int64_t within(const char* what, T value, int64_t least, int64_t most) const {
    if (std::in_range<int64_t>(value)) {
      const auto number = static_cast<int64_t>(value);
      if (number >= least && number <= most) return number;
    }
    fail(ExitCode::kModel, name_, ": ", what, ' ', value, " is not from ", least, " to ", most);
  }

  [[noreturn]] void refuse(const char* what) const { fail(ExitCode::kModel, name_, ": ", what); }

 private:
  const std::string& name_;
};

/// -1 stands for none.
std::optional<int64_t> optional_rows(const HeaderChecker& check, const char* what, int64_t value,
                                     int64_t least) {
  if (value == -1) return std::nullopt;
  return check.within(what, value, least, kMaxInt32);
}

std::optional<KvBudget> decode_budget(const CacheHeader& header, const HeaderChecker& check) {
  constexpr double kMostBytes = 0x1p62;
  const double amount = header.budget;
  const bool whole = std::isfinite(amount) && amount >= 1 && std::floor(amount) == amount;
  bool fits = false;
  auto unit = KvBudget::Unit::kRows;
  switch (check.within("the budget's unit", header.budget_unit, 0, 3)) {
    case 0: return std::nullopt;
    case 1: fits = whole && amount <= static_cast<double>(kMaxInt32); break;
    case 2:
      unit = KvBudget::Unit::kPercent;
      fits = amount > 0 && amount <= 100;
      break;
    default: unit = KvBudget::Unit::kBytes; fits = whole && amount <= kMostBytes;
  }
  if (!fits) check.refuse("the budget is out of range");
  return KvBudget{.unit = unit, .amount = amount};
}

// An option that is new needs a place in the header, in both functions below, and a new version.
static_assert(sizeof(PolicyOptions) == 80 && sizeof(KvOptions) == 208);

/// The numbers that a method may have of its own: from `least` to `most`, or -1 for none.
struct PolicyNumbers {
  const HeaderChecker& check;

  template <class T>
  void read(std::optional<T>& to, const char* what, int32_t number, int64_t least, int64_t most) {
    if (number == -1) return;
    to = static_cast<T>(check.within(what, number, least, most));
  }
};

PolicyOptions decode_policy_options(const CacheHeader& header, const HeaderChecker& check) {
  PolicyOptions options;
  PolicyNumbers numbers{check};
  options.seed = header.seed;
  numbers.read(options.window, "the window", header.window, 1, kMaxQueries);
  numbers.read(options.pool, "the pool", header.pool, 1, kMaxPool);
  numbers.read(options.chunk, "the chunk", header.chunk, 1, kMaxInt32);
  numbers.read(options.terms, "the terms", header.terms, 0, 2);
  numbers.read(options.cut, "the cut", header.cut, 0, 2);
  numbers.read(options.normalize, "normalize", header.normalize, 0, 1);
  numbers.read(options.pool_attention, "what is pooled", header.pool_attention, 0, 1);
  return options;
}

void encode_policy_options(const PolicyOptions& options, CacheHeader& header) {
  const auto number = [](const auto& option) {
    return option ? static_cast<int32_t>(*option) : -1;
  };
  header.seed = options.seed;
  header.window = number(options.window);
  header.pool = number(options.pool);
  header.chunk = number(options.chunk);
  header.terms = number(options.terms);
  header.cut = number(options.cut);
  header.normalize = number(options.normalize);
  header.pool_attention = number(options.pool_attention);
}

KvOptions decode_options(const CacheHeader& header, const HeaderChecker& check) {
  constexpr std::array kGroups = {Group::kHead, Group::kMean, Group::kMax, Group::kSum};
  KvOptions kv;
  if (header.policy.back() != '\0') check.refuse("the policy's name has no end");
  kv.policy = header.policy.data();
  kv.budget = decode_budget(header, check);
  kv.sink = optional_rows(check, "sink", header.sink, 0);
  kv.recent = optional_rows(check, "recent", header.recent, 1);
  const int64_t how = check.within("the group's way", header.group_how, 0, kGroups.size());
  if (how > 0) kv.group = kGroups[static_cast<size_t>(how - 1)];
  check.within("flags", header.flags, 0, kFill | kReselect | kPlacesInCache);
  kv.fill = (header.flags & kFill) != 0;
  kv.reselect = (header.flags & kReselect) != 0;
  kv.places_in_cache = (header.flags & kPlacesInCache) != 0;
  kv.recompact = check.within("recompact", header.recompact, 0, kMaxInt32);
  kv.policy_options = decode_policy_options(header, check);
  kv.order = static_cast<PrefillOrder>(check.within("the order", header.order, 0, 2));
  kv.evict_chunk = check.within("the chunk's length", header.evict_chunk, 1, kMaxInt32);
  return kv;
}

void encode_options(const KvOptions& kv, CacheHeader& header) {
  WINNOW_CHECK(kv.policy.size() < header.policy.size(), kv.policy);
  std::ranges::copy(kv.policy, header.policy.begin());
  if (kv.budget) {
    header.budget = kv.budget->amount;
    header.budget_unit = kv.budget->unit == KvBudget::Unit::kRows      ? 1
                         : kv.budget->unit == KvBudget::Unit::kPercent ? 2
                                                                       : 3;
  }
  header.sink = kv.sink.value_or(-1);
  header.recent = kv.recent.value_or(-1);
  if (kv.group) header.group_how = static_cast<uint32_t>(*kv.group) + 1;
  header.flags = (kv.fill ? kFill : 0) | (kv.reselect ? kReselect : 0) |
                 (kv.places_in_cache ? kPlacesInCache : 0);
  header.recompact = kv.recompact;
  encode_policy_options(kv.policy_options, header);
  header.order = static_cast<uint32_t>(kv.order);
  header.evict_chunk = static_cast<int32_t>(kv.evict_chunk);
}

}  // namespace

std::optional<CacheLayout> cache_layout(const CacheHeader& header) {
  const auto heads = checked_mul(header.n_layers, header.n_kv_heads);
  if (!heads || header.next_position < 0 || header.type > 2) return std::nullopt;
  const auto type = static_cast<DType>(header.type);
  const auto head_row = checked_mul(uint64_t{2}, uint64_t{header.head_dim}, dtype_size(type));
  if (!head_row) return std::nullopt;
  uint64_t at = sizeof(CacheHeader);
  bool fits = true;
  const auto table = [&](uint64_t n, uint64_t element_bytes) {
    const uint64_t begin = at;
    const auto bytes = checked_mul(n, element_bytes);
    const auto end = bytes ? checked_add(at, *bytes) : std::nullopt;
    fits = fits && end.has_value();
    at = end.value_or(at);
    return begin;
  };
  CacheLayout layout;
  layout.heads = table(*heads, kHeadBytes);
  layout.layer_crc = table(header.n_layers, sizeof(uint32_t));
  layout.tokens = table(static_cast<uint64_t>(header.next_position), sizeof(int32_t));
  layout.seen = table(header.vocab_size, sizeof(uint8_t));
  layout.logits = table(header.vocab_size, sizeof(float));
  layout.positions = table(header.rows, sizeof(int32_t));
  layout.masks = table(header.rows, sizeof(uint32_t));
  layout.rows = table(header.rows, *head_row);
  layout.end = at;
  return fits ? std::optional(layout) : std::nullopt;
}

uint32_t cache_header_crc(CacheHeader header) {
  header.header_crc = 0;
  return crc32c(std::as_bytes(std::span(&header, 1)));
}

uint64_t tokens_hash(const std::vector<int32_t>& tokens) {
  Fnv64 hash;
  hash.add(std::as_bytes(std::span(tokens)));
  return hash.value();
}

int64_t CacheContents::most_rows() const {
  int64_t most = 0;
  for (const HeadRows& head : state.heads) most = std::max<int64_t>(most, head.rows);
  return most;
}

bool CacheContents::winnowed() const {
  return std::ranges::any_of(state.heads,
                             [&](const HeadRows& head) { return head.rows < state.next_position; });
}

CacheHeader encode_cache_header(const CacheContents& contents) {
  CacheHeader header;
  const SequenceState& state = contents.state;
  header.rows = state.position.size();
  header.config_fingerprint = contents.model.config;
  header.weights_fingerprint = contents.model.weights;
  header.tokens_hash = tokens_hash(contents.tokens);
  header.n_layers = static_cast<uint32_t>(contents.n_layers);
  header.n_kv_heads = static_cast<uint32_t>(contents.n_kv_heads);
  header.group = static_cast<uint32_t>(contents.group);
  header.head_dim = static_cast<uint32_t>(contents.head_dim);
  header.vocab_size = static_cast<uint32_t>(contents.vocab_size);
  header.type = static_cast<uint32_t>(contents.type);
  header.next_position = state.next_position;
  header.first_prompt = contents.first_prompt;
  header.steps_since_selection = state.steps_since_selection;
  header.rows_to_selection = state.rows_to_selection;
  header.rows_shared = state.rows_shared;
  header.next_token = state.next_token;
  header.n_sampled = state.n_sampled;
  header.meter = state.meter;
  encode_options(contents.kv, header);
  return header;
}

CacheContents decode_cache_header(const CacheHeader& header, const std::string& name) {
  const HeaderChecker check(name);
  CacheContents contents;
  contents.model = {.config = header.config_fingerprint, .weights = header.weights_fingerprint};
  contents.n_layers = check.within("the number of layers", header.n_layers, 1, 1024);
  contents.n_kv_heads = check.within("the number of KV heads", header.n_kv_heads, 1, 1 << 14);
  contents.group = check.within("the group", header.group, 1, kMaxGroup);
  contents.head_dim = check.within("head_dim", header.head_dim, 2, kMaxHeadDim);
  contents.vocab_size = check.within("vocab_size", header.vocab_size, 1, 1 << 24);
  contents.type = static_cast<DType>(check.within("the rows' type", header.type, 0, 2));
  contents.kv = decode_options(header, check);
  SequenceState& state = contents.state;
  state.next_position = check.within("the number of tokens", header.next_position, 1, kMaxInt32);
  contents.first_prompt =
      check.within("the first prompt's length", header.first_prompt, 1, state.next_position);
  state.steps_since_selection =
      check.within("the number of steps", header.steps_since_selection, 0, state.next_position);
  state.rows_to_selection =
      check.within("rows to a selection", header.rows_to_selection, 0, 2 * kMaxInt32);
  state.rows_shared =
      check.within("rows shared", header.rows_shared, 0, std::numeric_limits<int64_t>::max());
  state.next_token =
      static_cast<int32_t>(check.within("token", header.next_token, 0, contents.vocab_size - 1));
  state.n_sampled =
      static_cast<int32_t>(check.within("tokens drawn", header.n_sampled, 0, kMaxInt32));
  state.meter = header.meter;
  const KvMeter::Sums& sums = header.meter;
  for (const double sum : {sums.visible, sums.visible_full, sums.most_visible,
                           sums.most_visible_full, sums.held, sums.held_full}) {
    if (!std::isfinite(sum) || sum < 0) check.refuse("a count of the meter is no count");
  }
  return contents;
}

}  // namespace winnow
