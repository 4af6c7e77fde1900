#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "src/base/crc32c.h"
#include "src/base/error.h"
#include "src/kv/cache_file_io.h"

namespace winnow {
namespace {

constexpr uint64_t kPieceBytes = uint64_t{1} << 20;

/// A file that begins otherwise than it should, said by what it is.
[[noreturn]] void refuse_magic(const std::string& name, std::string_view first_bytes) {
  const std::string_view known = sniff_wrong_format(first_bytes);
  if (known.empty()) fail(ExitCode::kModel, name, ": is not a cache that winnow saved");
  fail(ExitCode::kModel, name, ": ", known);
}

CacheHeader read_header(const File& file) {
  const std::string name = file.path().string();
  CacheHeader header;
  const uint64_t n = std::min<uint64_t>(file.size(), sizeof(header));
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(&header, 1)).first(n);
  std::ranges::fill(std::as_writable_bytes(std::span(&header, 1)), std::byte{0});
  file.read_at(0, bytes);
  if (n == 0) fail(ExitCode::kModel, name, ": is empty");
  if (header.magic != CacheHeader::kMagic) {
    refuse_magic(name, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  if (n < sizeof(header)) {
    fail(ExitCode::kModel, name, ": is cut: ", n, " bytes, and its header alone has ",
         sizeof(header));
  }
  if (header.version != CacheHeader::kVersion) {
    fail(ExitCode::kModel, name, ": has version ", header.version, " of the format, and this is ",
         CacheHeader::kVersion);
  }
  if (header.header_crc != cache_header_crc(header)) {
    fail(ExitCode::kModel, name, ": is damaged: the checksum of its header is wrong");
  }
  return header;
}

/// Reads tables one after the other, and sums them up.
class TableReader {
 public:
  TableReader(const File& file, uint64_t at) : file_(file), at_(at) {}

  template <class T>
  std::vector<T> table(uint64_t n) {
    std::vector<T> values(static_cast<size_t>(n));
    const std::span<std::byte> bytes = std::as_writable_bytes(std::span(values));
    file_.read_at(at_, bytes);
    at_ += bytes.size();
    crc_ = crc32c(bytes, crc_);
    return values;
  }

  uint32_t crc() const { return crc_; }

 private:
  const File& file_;
  uint64_t at_;
  uint32_t crc_ = 0;
};

/// Rows, ring_rows, turned of each head: what does not fit becomes negative, and is refused later.
std::vector<HeadRows> heads_of(std::span<const uint32_t> numbers) {
  std::vector<HeadRows> heads;
  for (size_t i = 0; i + 2 < numbers.size(); i += 3) {
    heads.push_back({.rows = static_cast<int32_t>(numbers[i]),
                     .ring_rows = static_cast<int32_t>(numbers[i + 1]),
                     .turned = static_cast<int32_t>(numbers[i + 2])});
  }
  return heads;
}

}  // namespace

CacheFile::CacheFile(File file, const CacheHeader& header, const CacheLayout& layout,
                     CacheContents outline)
    : file_(std::move(file)), header_(header), layout_(layout), outline_(std::move(outline)) {}

CacheFile CacheFile::open(const std::filesystem::path& path) {
  File file = File::open(path);
  const std::string name = path.string();
  const CacheHeader header = read_header(file);
  if (header.file_bytes > file.size()) {
    fail(ExitCode::kModel, name, ": is cut: ", file.size(), " bytes of ", header.file_bytes);
  }
  if (header.file_bytes < file.size()) {
    fail(ExitCode::kModel, name, ": has ", file.size() - header.file_bytes,
         " bytes behind its end");
  }
  CacheContents outline = decode_cache_header(header, name);
  const std::optional<CacheLayout> layout = cache_layout(header);
  if (!layout || layout->end != header.file_bytes) {
    fail(ExitCode::kModel, name, ": has ", header.file_bytes, " bytes, which its ", header.rows,
         " rows and ", header.next_position, " tokens do not come to");
  }
  return {std::move(file), header, *layout, std::move(outline)};
}

CacheContents CacheFile::read_tables() const {
  CacheContents contents = outline_;
  const auto vocab = static_cast<uint64_t>(contents.vocab_size);
  TableReader reader(file_, layout_.heads);
  contents.state.heads =
      heads_of(reader.table<uint32_t>((layout_.layer_crc - layout_.heads) / sizeof(uint32_t)));
  reader.table<uint32_t>(static_cast<uint64_t>(contents.n_layers));  // see check_rows
  contents.tokens = reader.table<int32_t>(static_cast<uint64_t>(contents.state.next_position));
  contents.state.seen = reader.table<uint8_t>(vocab);
  contents.state.logits = reader.table<float>(vocab);
  contents.state.position = reader.table<int32_t>(header_.rows);
  contents.state.mask = reader.table<uint32_t>(header_.rows);
  if (reader.crc() != header_.tables_crc) {
    fail(ExitCode::kModel, name(), ": is damaged: the checksum of its tables is wrong");
  }
  if (tokens_hash(contents.tokens) != header_.tokens_hash) {
    fail(ExitCode::kModel, name(), ": is damaged: the hash of its tokens is wrong");
  }
  check_cache_tables(contents, name());
  return contents;
}

std::vector<uint64_t> CacheFile::row_offsets(const CacheContents& contents) const {
  std::vector<uint64_t> offsets = {layout_.rows};
  for (const HeadRows& head : contents.state.heads) {
    offsets.push_back(offsets.back() + 2 * static_cast<uint64_t>(head.rows) * contents.row_bytes());
  }
  return offsets;
}

void CacheFile::check_rows(const CacheContents& contents, const std::function<void()>& tick) const {
  const auto n_layers = static_cast<size_t>(contents.n_layers);
  const auto n_heads = static_cast<size_t>(contents.n_kv_heads);
  const std::vector<uint64_t> offsets = row_offsets(contents);
  const auto expected = TableReader(file_, layout_.layer_crc).table<uint32_t>(n_layers);
  std::vector<std::byte> piece(kPieceBytes);
  for (size_t l = 0; l < n_layers; ++l) {
    const uint64_t end = offsets[(l + 1) * n_heads];
    uint32_t crc = 0;
    for (uint64_t at = offsets[l * n_heads]; at < end; at += piece.size()) {
      const auto part = std::span(piece).first(std::min<uint64_t>(piece.size(), end - at));
      file_.read_at(at, part);
      crc = crc32c(part, crc);
      if (tick) tick();
    }
    if (crc == expected[l]) continue;
    fail(ExitCode::kModel, name(), ": is damaged: the checksum of layer ", l, "'s rows is wrong");
  }
}

}  // namespace winnow
