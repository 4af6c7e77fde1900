// NumPy's .npy files: one float32 array, written in row-major order.
//
//   "\x93NUMPY" 1 0   magic and version
//   uint16            length of the text that follows, little endian
//   text              a Python dictionary of type, order and shape, and spaces: the data starts at
//                     a multiple of 64 bytes
//   data              little-endian float32
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace winnow {

/// Writes to a temporary file beside the target, FILE.tmp.PID, which becomes FILE when all is
/// there. Until then, and where anything fails, FILE stays as it was. Failures are kIo and name the
/// path.
class NpyWriter {
 public:
  /// An array of that shape, of at least two dimensions. Fails where the file cannot be made, or
  /// where `path` is something that exists and is no regular file.
  NpyWriter(const std::filesystem::path& path, std::span<const int64_t> shape);

  /// A matrix [n_rows, n_cols].
  NpyWriter(const std::filesystem::path& path, int64_t n_rows, int64_t n_cols);

  /// The next values in row-major order, any number of them.
  void append(std::span<const float> values);

  /// Gives the file its name, once all values were appended.
  void finish();

 private:
  /// An open file that is removed with its owner, unless it got another name.
  struct Temporary {
    std::filesystem::path path;
    int fd = -1;

    Temporary() = default;
    Temporary(const Temporary&) = delete;
    Temporary& operator=(const Temporary&) = delete;
    ~Temporary();
  };

  void write(std::span<const std::byte> bytes);

  std::filesystem::path path_;
  int64_t n_missing_ = 0;  // values still to come
  Temporary temporary_;
};

}  // namespace winnow
