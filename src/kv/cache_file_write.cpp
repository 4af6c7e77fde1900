#include <algorithm>

#include "src/base/crc32c.h"
#include "src/base/error.h"
#include "src/kv/cache_file_io.h"

namespace winnow {
namespace {

constexpr uint64_t kPieceBytes = uint64_t{4} << 20;

/// Writes one table after the other, and sums them up.
class TableWriter {
 public:
  TableWriter(NewFile& file, uint64_t at) : file_(file), at_(at) {}

  template <class T>
  void table(const std::vector<T>& values) {
    const std::span<const std::byte> bytes = std::as_bytes(std::span(values));
    file_.write_at(at_, bytes);
    at_ += bytes.size();
    crc_ = crc32c(bytes, crc_);
  }

  uint64_t at() const { return at_; }
  uint32_t crc() const { return crc_; }

 private:
  NewFile& file_;
  uint64_t at_;
  uint32_t crc_ = 0;
};

/// The rows of all layers from byte `at` on. Returns the checksum of each layer.
std::vector<uint32_t> write_rows(NewFile& file, const CacheContents& contents, uint64_t at,
                                 const RowSource& rows) {
  std::vector<uint32_t> layer_crc(static_cast<size_t>(contents.n_layers));
  std::vector<std::byte> buffer(kPieceBytes);
  const auto n_heads = static_cast<size_t>(contents.n_kv_heads);
  for (size_t head = 0; head < contents.state.heads.size(); ++head) {
    uint32_t& crc = layer_crc[head / n_heads];
    const uint64_t bytes =
        static_cast<uint64_t>(contents.state.heads[head].rows) * contents.row_bytes();
    for (const bool values : {false, true}) {
      for (uint64_t offset = 0; offset < bytes; offset += buffer.size()) {
        const auto piece =
            std::span(buffer).first(std::min<uint64_t>(buffer.size(), bytes - offset));
        rows({.head = head, .values = values, .offset = offset, .out = piece});
        file.write_at(at, piece);
        crc = crc32c(piece, crc);
        at += piece.size();
      }
    }
  }
  return layer_crc;
}

std::vector<uint32_t> numbers_of(const std::vector<HeadRows>& heads) {
  std::vector<uint32_t> numbers;
  for (const HeadRows& head : heads) {
    for (const int32_t number : {head.rows, head.ring_rows, head.turned}) {
      numbers.push_back(static_cast<uint32_t>(number));
    }
  }
  return numbers;
}

}  // namespace

void write_cache_file(NewFile& file, const CacheContents& contents, const RowSource& rows) {
  CacheHeader header = encode_cache_header(contents);
  const std::optional<CacheLayout> layout = cache_layout(header);
  WINNOW_CHECK(layout.has_value(), "a cache that is held has a size");
  WINNOW_CHECK(std::ssize(contents.tokens) == contents.state.next_position, contents.tokens.size(),
               " tokens, and ", contents.state.next_position, " were read");
  const std::vector<uint32_t> layer_crc = write_rows(file, contents, layout->rows, rows);
  TableWriter writer(file, layout->heads);
  writer.table(numbers_of(contents.state.heads));
  writer.table(layer_crc);
  writer.table(contents.tokens);
  writer.table(contents.state.seen);
  writer.table(contents.state.logits);
  writer.table(contents.state.position);
  writer.table(contents.state.mask);
  WINNOW_CHECK(writer.at() == layout->rows, "the tables do not end where the rows begin");
  header.file_bytes = layout->end;
  header.tables_crc = writer.crc();
  header.header_crc = cache_header_crc(header);
  file.write_at(0, std::as_bytes(std::span(&header, 1)));
}

}  // namespace winnow
