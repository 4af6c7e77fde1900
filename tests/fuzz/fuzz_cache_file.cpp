// libFuzzer entry: any bytes as the file of a cache. What is accepted addresses nothing that is not
// there. The fuzzer guesses no checksums: it is also given them right, and a header that fits.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "src/base/crc32c.h"
#include "src/base/error.h"
#include "src/kv/cache_file_io.h"

namespace {

using namespace winnow;

void require(bool holds) {
  if (!holds) __builtin_trap();
}

/// What a restore relies on.
void check_accepted(const CacheFile& file, const CacheContents& contents, size_t size) {
  const auto n_heads = static_cast<size_t>(contents.n_layers * contents.n_kv_heads);
  require(contents.state.heads.size() == n_heads);
  require(contents.state.mask.size() == contents.state.position.size());
  require(contents.state.seen.size() == static_cast<size_t>(contents.vocab_size));
  require(contents.state.logits.size() == static_cast<size_t>(contents.vocab_size));
  size_t rows = 0;
  for (const HeadRows& head : contents.state.heads) {
    require(head.rows > 0 && head.rows <= contents.state.next_position);
    require(head.slot() >= 0 && head.slot() <= head.rows);
    rows += static_cast<size_t>(head.rows);
  }
  require(rows == contents.state.position.size());
  for (const int32_t position : contents.state.position) {
    require(position >= 0 && position < contents.state.next_position);
  }
  const auto offsets = file.row_offsets(contents);
  require(offsets.back() == size && std::ranges::is_sorted(offsets));
}

void try_file(std::string_view bytes) {
  const int fd = memfd_create("fuzz", MFD_CLOEXEC);
  require(fd >= 0 && write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  try {
    const CacheFile file = CacheFile::open("/proc/self/fd/" + std::to_string(fd));
    const CacheContents contents = file.read_tables();
    check_accepted(file, contents, bytes.size());
    file.check_rows(contents, {});
  } catch (const Error& error) {
    require(error.code() == ExitCode::kModel);
  }
  close(fd);
}

void put(std::string& bytes, uint64_t at, const void* from, size_t n) {
  std::memcpy(&bytes[at], from, n);
}

/// A header of small numbers, and as many bytes behind it as it wants, all out of `bytes`.
std::string framed(std::string_view bytes) {
  CacheHeader header;
  const auto number = [&](size_t i, uint32_t below) {
    return i < bytes.size() ? static_cast<uint8_t>(bytes[i]) % below : 0;
  };
  header.n_layers = 1 + number(0, 2);
  header.n_kv_heads = 1 + number(1, 2);
  header.group = 1 + number(2, 4);
  header.head_dim = 2;
  header.vocab_size = 1 + number(3, 4);
  header.next_position = 1 + number(4, 8);
  header.first_prompt = 1;
  header.rows = number(5, 32);
  header.policy = {'s', 'a', 'g', 'e'};
  const CacheLayout layout = cache_layout(header).value();
  std::string file(layout.end, '\0');
  bytes.remove_prefix(std::min<size_t>(bytes.size(), 6));
  const size_t n = std::min<size_t>(bytes.size(), layout.end - layout.heads);
  put(file, layout.heads, bytes.data(), n);
  std::fill(file.begin() + static_cast<ptrdiff_t>(layout.seen),
            file.begin() + static_cast<ptrdiff_t>(layout.logits), '\1');
  const auto part = [&](uint64_t begin, uint64_t end) {
    return std::as_bytes(std::span(file).subspan(begin, end - begin));
  };
  std::vector<int32_t> tokens(static_cast<size_t>(header.next_position));
  std::memcpy(tokens.data(), &file[layout.tokens], tokens.size() * sizeof(int32_t));
  header.tokens_hash = tokens_hash(tokens);
  header.file_bytes = layout.end;
  header.tables_crc = crc32c(part(layout.heads, layout.rows));
  header.header_crc = cache_header_crc(header);
  put(file, 0, &header, sizeof(header));
  return file;
}

/// The header as it comes, with its magic, version, size and checksum right.
std::string with_checksums(std::string_view bytes) {
  std::string file(std::max(bytes.size(), sizeof(CacheHeader)), '\0');
  if (!bytes.empty()) put(file, 0, bytes.data(), bytes.size());
  CacheHeader header;
  std::memcpy(&header, file.data(), sizeof(header));
  header.magic = CacheHeader::kMagic;
  header.version = CacheHeader::kVersion;
  header.file_bytes = file.size();
  header.tables_crc = crc32c(std::as_bytes(std::span(file).subspan(sizeof(header))));
  header.header_crc = cache_header_crc(header);
  put(file, 0, &header, sizeof(header));
  return file;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try_file(bytes);
  try_file(with_checksums(bytes));
  try_file(framed(bytes));
  return 0;
}
