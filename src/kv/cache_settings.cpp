// The settings of a cache that comes from a file.
#include <algorithm>

#include "src/base/error.h"
#include "src/kv/cache_file.h"

namespace winnow {
namespace {

KvSettings resolved(const CacheContents& contents, const ModelConfig& config,
                    const std::string& name) {
  try {
    return resolve_kv(contents.kv, config, contents.type, contents.first_prompt);
  } catch (const Error& error) {
    fail(ExitCode::kModel, name, ": its settings are none: ", error.what());
  }
}

}  // namespace

KvSettings cache_settings(const CacheContents& contents, const ModelConfig& config,
                          const std::string& name) {
  KvSettings settings = resolved(contents, config, name);
  if (settings.extras().scores) {
    fail(ExitCode::kModel, name, ": lacks the scores that policy ", contents.kv.policy, " keeps");
  }
  const bool may_ring = settings.replaces_rows() && !settings.reads_chunks(contents.first_prompt);
  const auto is_ring = [](const HeadRows& head) { return head.ring_rows > 0; };
  const std::vector<HeadRows>& heads = contents.state.heads;
  const bool any_ring = std::ranges::any_of(heads, is_ring);
  const bool all_rings = std::ranges::all_of(heads, is_ring);
  if (any_ring && (!may_ring || !all_rings)) {
    fail(ExitCode::kModel, name, ": has rings, and policy ", contents.kv.policy, " makes none");
  }
  // Where rows left without a ring, later ones would make the heads grow without an end.
  if (contents.winnowed() && (!settings.policy || (may_ring && !any_ring))) {
    fail(ExitCode::kModel, name, ": lacks rows that policy ", contents.kv.policy, " keeps");
  }
  return settings;
}

}  // namespace winnow
