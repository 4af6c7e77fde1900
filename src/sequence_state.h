// What a sequence is between two tokens, but for its K/V rows: enough, with the rows, to go on
// from elsewhere as if nothing had happened.
#pragma once

#include <cstdint>
#include <vector>

#include "src/kv/meter.h"
#include "src/kv/store.h"

namespace winnow {

struct SequenceState {
  int64_t next_position = 0;  // tokens of the text that were read
  int32_t next_token = 0;     // what decode() reads next, where it was drawn already
  int32_t n_sampled = 0;      // tokens drawn so far: the sampler's counter
  int64_t steps_since_selection = 0;
  int64_t rows_to_selection = 0;  // that heads may grow by before one; counted with --kv-recompact
  int64_t rows_shared = 0;        // see Sequence::rows_shared
  KvMeter::Sums meter;
  std::vector<HeadRows> heads;    // [n_layers * n_kv_heads]; without their room
  std::vector<int32_t> position;  // [rows of all heads] as they lie in memory: a ring may have
  std::vector<uint32_t> mask;     // [rows of all heads] turned
  std::vector<uint8_t> seen;      // [vocab_size] 1 for the tokens of the text and those drawn
  std::vector<float> logits;      // [vocab_size] of the last token that was read
};

}  // namespace winnow
