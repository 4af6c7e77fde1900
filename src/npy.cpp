#include "src/npy.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "src/base/checked.h"
#include "src/base/error.h"

namespace winnow {
namespace {

static_assert(std::endian::native == std::endian::little, "values are written as they lie");

/// "3, 4": dimensions as they stand in a Python tuple.
std::string dimensions(std::span<const int64_t> shape) {
  std::string text;
  for (const int64_t n : shape) text += (text.empty() ? "" : ", ") + std::to_string(n);
  return text;
}

/// Everything before the data.
std::string npy_header(std::span<const int64_t> shape) {
  constexpr size_t kFixedBytes = 10;  // magic, version, length
  constexpr size_t kAlignment = 64;
  std::string text =
      "{'descr': '<f4', 'fortran_order': False, 'shape': (" + dimensions(shape) + "), }";
  while ((kFixedBytes + text.size() + 1) % kAlignment != 0) text += ' ';
  text += '\n';
  const size_t length = text.size();
  std::string header("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(length & 0xFF);
  header += static_cast<char>(length >> 8);
  return header + text;
}

/// The product of the dimensions, whose bytes can be counted too.
int64_t count_values(std::span<const int64_t> shape) {
  std::optional<uint64_t> bytes = sizeof(float);
  for (const int64_t n : shape) {
    WINNOW_CHECK(n >= 0, dimensions(shape));
    bytes = checked_mul(*bytes, static_cast<uint64_t>(n));
    WINNOW_CHECK(bytes && *bytes <= INT64_MAX, dimensions(shape));
  }
  return static_cast<int64_t>(*bytes / sizeof(float));
}

[[noreturn]] void fail_write(const std::filesystem::path& path, int code) {
  fail(ExitCode::kIo, quoted(path.native()),
       ": cannot write: ", std::generic_category().message(code));
}

}  // namespace

NpyWriter::Temporary::~Temporary() {
  if (fd >= 0) ::close(fd);
  if (!path.empty()) ::unlink(path.c_str());
}

NpyWriter::NpyWriter(const std::filesystem::path& path, int64_t n_rows, int64_t n_cols)
    : NpyWriter(path, std::array{n_rows, n_cols}) {}

NpyWriter::NpyWriter(const std::filesystem::path& path, std::span<const int64_t> shape)
    : path_(path), n_missing_(count_values(shape)) {
  // The last step is a rename: it would put a file in the place of /dev/null.
  std::error_code ignored;
  const std::filesystem::file_status status = std::filesystem::status(path_, ignored);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    fail(ExitCode::kIo, quoted(path_.native()), ": cannot write: is not a regular file");
  }

  const std::filesystem::path name = path_.native() + ".tmp." + std::to_string(::getpid());
  temporary_.fd = ::open(name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (temporary_.fd < 0) fail_write(path_, errno);
  temporary_.path = name;
  const std::string header = npy_header(shape);
  write(std::as_bytes(std::span(header)));
}

void NpyWriter::append(std::span<const float> values) {
  const auto n = static_cast<int64_t>(values.size());
  WINNOW_CHECK(n <= n_missing_, n, " values where ", n_missing_, " are missing");
  write(std::as_bytes(values));
  n_missing_ -= n;
}

void NpyWriter::finish() {
  WINNOW_CHECK(n_missing_ == 0, n_missing_, " values are missing");
  // A disk that is full may say so only when the file is closed.
  if (::close(std::exchange(temporary_.fd, -1)) != 0) fail_write(path_, errno);
  if (::rename(temporary_.path.c_str(), path_.c_str()) != 0) fail_write(path_, errno);
  temporary_.path.clear();
}

void NpyWriter::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(temporary_.fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_write(path_, errno);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

}  // namespace winnow
