// What every step of a pass leaves, as .npy files in fp32. n is the rows of the pass:
//
//   embed.npy                       [n, hidden_size]            x
//   layer_LL.qkv.q.npy              [n, n_heads, head_dim]      rotated
//   layer_LL.qkv.k.npy, .qkv.v.npy  [n, n_kv_heads, head_dim]   the rows that join the cache
//   layer_LL.attention.npy          [n, n_heads, head_dim]
//   layer_LL.attention_output.npy   [n, hidden_size]            x
//   layer_LL.gate_up.npy            [n, intermediate_size]      h
//   layer_LL.down.npy               [n, hidden_size]            x
//   logits.npy                      [1, vocab_size]             of the last row
//   layer_LL.STEP.npy               [lists, rows]               scores, where rows are dropped
//
// STEP is attention_scores and every later step that makes or changes scores, a list for each query
// head or KV head; NaN where a list has no row, or the step leaves the row alone. Of a step that a
// layer calls twice the second is there.
//
// A prompt's lie in the dump's folder; those of the i-th pass over more rows (a chunk that is
// dropped by itself, a later text) in pass_i, counted from 0002, and those of the i-th token that
// is decoded in token_i, counted from 0001.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/dump_place.h"
#include "src/npy.h"
#include "src/watch/observer.h"

namespace winnow {

class StepDump final : public Observer {
 public:
  explicit StepDump(const DumpPlace& place) : root_(place) {}

  void attach(Device& device, std::string_view timer) override;
  void begin(const Span& span) override;
  void end(const Span& span) override;  // fails with kIo

 private:
  /// A file that gets its rows chunk by chunk.
  struct Open {
    std::unique_ptr<NpyWriter> file;
    int64_t missing = 0;  // rows
  };

  void begin_pass(const Batch& batch);
  void write_layer_step(const Span& span);
  void write_scores(const Span& span);
  void write(int64_t layer, const std::string& name, std::vector<int64_t> shape, const void* from,
             DType type);
  void append(int64_t layer, const std::string& name, std::vector<int64_t> shape,
              std::span<const float> rows);
  void write_rows(int64_t layer, const std::string& name, const Step& step, const void* from);

  DumpPlace root_;
  std::optional<DumpPlace> place_;  // of the pass
  Device* device_ = nullptr;
  int64_t token_ = 0;
  int64_t passes_ = 0;                // over prompts
  int64_t n_ = 0;                     // rows of the pass
  std::map<std::string, Open> open_;  // by path
};

}  // namespace winnow
