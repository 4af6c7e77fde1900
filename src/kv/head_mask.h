// Which KV heads of a model need a text's middle: DuoAttention (arXiv 2410.10819), PruLong (arXiv
// 2506.17121, section 4).
//
//   a full head       | . . . . . . . . . . . . . . . . . . . . |    sees every row
//   a streaming head  | sink |                       | . window |    sees the first and last rows
//
// Somebody has learned, head by head, how much a model loses where the head streams, and wrote it
// to a file: one line a layer, one number from 0 to 1 a KV head, with tabs between them. Heads
// whose number reaches a threshold are full.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "weights/config.h"

namespace winnow {

struct HeadMask {
  std::vector<uint8_t> full;  // [n_layers * n_kv_heads] 1 or 0; empty: all heads are full
  int64_t n_kv_heads = 1;
  int64_t sink = 128;     // first rows of the text that a streaming head sees,
  int64_t window = 1024;  // and last ones, its query's own included

  /// Whether head h of layer l streams.
  bool streams(int64_t l, int64_t h) const {
    return !full.empty() && full[static_cast<size_t>(l * n_kv_heads + h)] == 0;
  }
  bool streams_in(int64_t l) const;  // whether any head of the layer does
  bool streams_at_all() const { return n_streaming() > 0; }
  int64_t n_streaming() const;

  /// The most rows that a streaming head keeps.
  int64_t rows() const { return sink + window; }

  bool operator==(const HeadMask&) const = default;
};

/// The --kv-heads options, as they are written, and the mask that they come to.
struct HeadOptions {
  std::filesystem::path file = {};         // empty: all heads are full
  std::optional<double> threshold = {};    // default 0.5
  std::optional<int64_t> sink = {};        // default HeadMask's
  std::optional<int64_t> window = {};      // the same
  std::shared_ptr<const HeadMask> mask{};  // null until read_head_mask
};

/// Reads the file into options.mask, if one is named. Fails with kIo where it cannot be read, and
/// with kModel where it is none for this model, naming file, line and column.
void read_head_mask(HeadOptions& options, const ModelConfig& config);

/// The numbers of a file's `text` that reach `threshold`: HeadMask::full. `name` is the file's in
/// messages. Fails with kModel.
std::vector<uint8_t> parse_head_mask(std::string_view text, const std::string& name,
                                     const ModelConfig& config, double threshold);

}  // namespace winnow
