// What must hold for the tables of a cache's file before anything is made of them.
#include <algorithm>
#include <span>

#include "src/base/error.h"
#include "src/kv/cache_file.h"

namespace winnow {
namespace {

/// One KV head of a file, and where its complaints come from.
struct HeadScene {
  const CacheContents& contents;
  const std::string& name;
  size_t head;

  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    const size_t heads = static_cast<size_t>(contents.n_kv_heads);
    fail(ExitCode::kModel, name, ": layer ", head / heads, ", KV head ", head % heads, ": ",
         parts...);
  }
};

void check_counts(const HeadScene& scene, const HeadRows& head) {
  const int64_t n = scene.contents.state.next_position;
  if (head.rows < 1 || head.rows > n) {
    scene.refuse(static_cast<uint32_t>(head.rows), " rows of a text of ", n, " tokens");
  }
  if (head.ring_rows < 0 || head.ring_rows > head.rows) {
    scene.refuse("a ring of ", static_cast<uint32_t>(head.ring_rows), " of ", head.rows, " rows");
  }
  if (head.turned < 0 || head.turned >= std::max(head.ring_rows, 1)) {
    scene.refuse("a ring of ", head.ring_rows, " rows that turned by ",
                 static_cast<uint32_t>(head.turned));
  }
}

/// By age, a ring from its oldest row on.
void check_positions(const HeadScene& scene, const HeadRows& head,
                     std::span<const int32_t> position) {
  const int64_t n = scene.contents.state.next_position;
  const int64_t ring = head.rows - head.ring_rows;
  int32_t before = -1;
  for (int64_t i = 0; i < head.rows; ++i) {
    const int64_t turned = ring + (i - ring + head.turned) % std::max(head.ring_rows, 1);
    const int64_t row = i < ring ? i : turned;
    const int32_t at = position[static_cast<size_t>(row)];
    if (at < 0 || at >= n) {
      scene.refuse("row ", row, " has position ", at, " in a text of ", n, " tokens");
    }
    if (at <= before) scene.refuse("row ", row, " has position ", at, " after ", before);
    before = at;
  }
}

/// A row that joined by itself is seen by all, whatever the group; one that was chosen has the bits
/// of those who chose it.
void check_masks(const HeadScene& scene, std::span<const uint32_t> mask) {
  const int64_t group = scene.contents.group;
  const uint32_t beyond = group == 32 ? 0 : ~((uint32_t{1} << group) - 1);
  for (size_t row = 0; row < mask.size(); ++row) {
    if (mask[row] == kSeenByAll) continue;
    if (mask[row] == 0) scene.refuse("row ", row, " is seen by no query head");
    if ((mask[row] & beyond) == 0) continue;
    scene.refuse("row ", row, " is seen by query heads beyond its group of ", group);
  }
}

void check_tokens(const CacheContents& contents, const std::string& name) {
  const std::vector<uint8_t>& seen = contents.state.seen;
  if (std::ranges::any_of(seen, [](uint8_t mark) { return mark > 1; })) {
    fail(ExitCode::kModel, name, ": a token is neither seen nor not");
  }
  for (size_t i = 0; i < contents.tokens.size(); ++i) {
    const int32_t token = contents.tokens[i];
    if (token < 0 || token >= contents.vocab_size) {
      fail(ExitCode::kModel, name, ": token ", i, " is ", token, ", and the vocabulary has ",
           contents.vocab_size);
    }
    if (seen[static_cast<size_t>(token)] == 0) {
      fail(ExitCode::kModel, name, ": token ", i, " is not among those that were seen");
    }
  }
}

}  // namespace

void check_cache_tables(const CacheContents& contents, const std::string& name) {
  const SequenceState& state = contents.state;
  size_t rows = 0;
  for (size_t h = 0; h < state.heads.size(); ++h) {
    const HeadScene scene{contents, name, h};
    const HeadRows& head = state.heads[h];
    check_counts(scene, head);
    const auto n = static_cast<size_t>(head.rows);
    if (n > state.position.size() - rows) scene.refuse("more rows than the file has");
    check_positions(scene, head, std::span(state.position).subspan(rows, n));
    check_masks(scene, std::span(state.mask).subspan(rows, n));
    rows += n;
  }
  if (rows != state.position.size()) {
    fail(ExitCode::kModel, name, ": has ", state.position.size(), " rows, and its heads have ",
         rows);
  }
  check_tokens(contents, name);
}

}  // namespace winnow
