// How much memory the K/V rows of a run take at most, known before the run.
#pragma once

#include <cstdint>
#include <span>

#include "src/kv/settings.h"

namespace winnow {

struct KvPlan {
  int64_t room = 0;         // rows of a full KV head; 0: as many as the text has tokens
  bool twice = false;       // a cache is made anew beside the one that it replaces
  int64_t layer_rows = 0;   // rows of a KV head in the layer scratch; 0: no layer scratch
  int64_t prompt_rows = 0;  // tokens that go through the network at once at most; 0: whole prompts
};

/// The rows that a run begins with, where they come from a file.
struct KvStart {
  int64_t first_prompt = 0;  // tokens that the budget was divided for
  int64_t position = 0;      // tokens of the text so far; 0: nothing was read
  int64_t rows = 0;          // of the longest head
  bool winnowed = false;     // rows were dropped
};

/// For a text of up to `capacity` tokens whose prompts are read in turn.  prompts [at least one,
/// or none where the text has begun]
KvPlan plan_kv(const KvSettings& settings, std::span<const int64_t> prompts, int64_t capacity,
               const KvStart& start = {});

/// For a text whose prompts nobody knows yet, each with up to `turn_tokens` decode steps after it.
KvPlan plan_kv_turns(const KvSettings& settings, int64_t turn_tokens, int64_t capacity);

}  // namespace winnow
