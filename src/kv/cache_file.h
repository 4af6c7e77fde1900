// A cache on disk: what was kept of a text that was read, to go on from it another day.
//
//   | header | tables, in this order                                    | rows                |
//   |        | heads          [n_layers * n_kv_heads] 3 x u32: rows,    | layer 0: head 0: k, |
//   |        |                ring_rows, turned (see HeadRows)          |   v; head 1: k, v;  |
//   |        | layer_crc      [n_layers] u32, of the layer's rows       |   ...               |
//   |        | tokens         [next_position] i32, of the whole text    | layer 1: ...        |
//   |        | seen           [vocab_size] u8, 0 or 1                   |                     |
//   |        | logits         [vocab_size] f32                          | k and v             |
//   |        | positions      [rows] i32, head by head                  |   [rows of the head,|
//   |        | masks          [rows] u32                                |   head_dim] T       |
//
// All little endian, without gaps. k is what the store holds: rotated to its position, or with
// --kv-positions cache not rotated at all. Checksums are CRC-32C. Nothing in a file is believed:
// sizes are computed from the header with checked arithmetic and must come to the file's own, so
// that nothing larger than the file is ever allocated; then everything that memory is addressed by
// is checked (cache_file_check.cpp). The numbers in k, v and logits may be anything: they are
// protected by checksums against damage, and not finite ones end like those of bad weights, in one
// line when a token is drawn.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/base/dtype.h"
#include "src/kv/settings.h"
#include "src/sequence_state.h"
#include "weights/fingerprint.h"

namespace winnow {

/// The first bytes of a file. Every number has its own place: there is no padding.
struct CacheHeader {
  static constexpr std::array<char, 8> kMagic = {'W', 'I', 'N', 'N', 'O', 'W', 'K', 'V'};
  static constexpr uint32_t kVersion = 2;

  std::array<char, 8> magic = kMagic;
  uint32_t version = kVersion;
  uint32_t header_crc = 0;  // of the header, with 0 here
  uint64_t file_bytes = 0;
  uint64_t rows = 0;  // of all heads

  uint64_t config_fingerprint = 0;
  uint64_t weights_fingerprint = 0;
  uint64_t tokens_hash = 0;  // FNV-1a of the table
  uint32_t n_layers = 0;
  uint32_t n_kv_heads = 0;
  uint32_t group = 0;
  uint32_t head_dim = 0;
  uint32_t vocab_size = 0;
  uint32_t type = 0;  // of k and v: 0 F32, 1 F16, 2 BF16

  int64_t next_position = 0;
  int64_t first_prompt = 0;  // tokens of the prompt that the budget was divided for
  int64_t steps_since_selection = 0;
  int64_t rows_to_selection = 0;
  int64_t rows_shared = 0;
  int32_t next_token = 0;
  int32_t n_sampled = 0;
  KvMeter::Sums meter;

  std::array<char, 16> policy = {};  // ends with a 0
  double budget = 0;                 // KvBudget::amount
  int64_t sink = -1;                 // -1: the method's own
  int64_t recent = -1;               // the same
  int64_t recompact = 0;
  uint64_t seed = 0;
  uint32_t budget_unit = 0;  // 0 none, 1 rows, 2 percent, 3 bytes
  uint32_t group_how = 0;    // 0 the method's own, 1 head, 2 mean, 3 max, 4 sum
  uint32_t flags = 0;        // 1 fill, 2 reselect, 4 places_in_cache
  uint32_t tables_crc = 0;

  // Of PolicyOptions; -1: the method's own.
  int32_t window = -1;
  int32_t pool = -1;
  int32_t chunk = -1;
  int32_t terms = -1;
  int32_t cut = -1;
  int32_t normalize = -1;
  int32_t pool_attention = -1;

  uint32_t order = 0;  // 0 by layers, 1 by chunks, 2 by patched chunks
  int32_t evict_chunk = 0;
  uint32_t unused = 0;
};
static_assert(sizeof(CacheHeader) == 288 && alignof(CacheHeader) == 8);

/// Where the tables begin, in bytes from the file's start.
struct CacheLayout {
  uint64_t heads = 0;
  uint64_t layer_crc = 0;
  uint64_t tokens = 0;
  uint64_t seen = 0;
  uint64_t logits = 0;
  uint64_t positions = 0;
  uint64_t masks = 0;
  uint64_t rows = 0;
  uint64_t end = 0;
};

/// What a header's numbers come to; nothing where 64 bits do not hold it.
std::optional<CacheLayout> cache_layout(const CacheHeader& header);

/// The checksum that belongs into header_crc.
uint32_t cache_header_crc(CacheHeader header);

uint64_t tokens_hash(const std::vector<int32_t>& tokens);

/// The same as values, but for the K/V rows.
struct CacheContents {
  ModelFingerprint model;
  int64_t n_layers = 0;
  int64_t n_kv_heads = 0;
  int64_t group = 0;
  int64_t head_dim = 0;
  int64_t vocab_size = 0;
  DType type = DType::kF32;
  KvOptions kv;              // as they were written when the text was read
  int64_t first_prompt = 0;  // see resolve_kv
  std::vector<int32_t> tokens;
  SequenceState state;

  /// Bytes of a key or a value.
  uint64_t row_bytes() const { return static_cast<uint64_t>(head_dim) * dtype_size(type); }

  /// The longest head, and whether any dropped a row.
  int64_t most_rows() const;
  bool winnowed() const;
};

/// Sizes, checksums of tables and rows are left to the writer. Names of policies that do not fit
/// are an internal error.
CacheHeader encode_cache_header(const CacheContents& contents);

/// The header's part of the contents; tables are left empty. `name` is the file's in messages.
/// Fails with kModel for a number that no cache has.
CacheContents decode_cache_header(const CacheHeader& header, const std::string& name);

/// Fails with kModel, naming what is wrong and where, unless the tables fit the header and each
/// other: rows within the text; positions of each head ascending by age and within the text; masks
/// of the group's bits; rings within their heads; tokens of the vocabulary, all marked as seen.
void check_cache_tables(const CacheContents& contents, const std::string& name);

/// What the run's settings come to, as resolve_kv says. Fails with kModel where the file's options
/// do not fit each other, or its rows were dropped in a way that they do not explain.
KvSettings cache_settings(const CacheContents& contents, const ModelConfig& config,
                          const std::string& name);

}  // namespace winnow
