#include "src/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include "src/base/error.h"

namespace winnow {
namespace {

std::string system_message(int code) {
  return std::generic_category().message(code);
}

bool starts_with_ignoring_case(std::string_view text, std::string_view lower_prefix) {
  if (text.size() < lower_prefix.size()) return false;
  return std::equal(lower_prefix.begin(), lower_prefix.end(), text.begin(), [](char want, char is) {
    return want == (is >= 'A' && is <= 'Z' ? static_cast<char>(is - 'A' + 'a') : is);
  });
}

std::string_view without_leading_space(std::string_view text) {
  const size_t start = text.find_first_not_of(" \t\r\n");
  return start == std::string_view::npos ? std::string_view() : text.substr(start);
}

/// A web page, under any of the ways in which one starts.
bool is_web_page(std::string_view bytes) {
  const std::string_view text = without_leading_space(bytes);
  return starts_with_ignoring_case(text, "<!doctype") || starts_with_ignoring_case(text, "<html") ||
         starts_with_ignoring_case(text, "<head") || starts_with_ignoring_case(text, "<?xml");
}

/// JSON from byte 0: a bracket, and behind it what JSON allows there.
bool is_json(std::string_view text) {
  if (text.size() < 2 || (text[0] != '{' && text[0] != '[')) return false;
  return std::string_view("\"{}[] \t\r\n").find(text[1]) != std::string_view::npos;
}

}  // namespace

File::File(std::filesystem::path path, int fd, uint64_t size)
    : path_(std::move(path)), fd_(fd), size_(size) {}

File::File(File&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), size_(other.size_) {}

File& File::operator=(File&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  return *this;
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

File File::open(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  const int fd = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) fail(ExitCode::kIo, path.string(), ": cannot open: ", system_message(errno));
  File file(path, fd, 0);

  struct stat status = {};
  if (::fstat(fd, &status) != 0) {
    fail(ExitCode::kIo, path.string(), ": cannot read its size: ", system_message(errno));
  }
  if (S_ISDIR(status.st_mode)) fail(ExitCode::kIo, path.string(), ": is a directory, not a file");
  if (!S_ISREG(status.st_mode)) fail(ExitCode::kIo, path.string(), ": is not a regular file");
  file.size_ = static_cast<uint64_t>(status.st_size);
  return file;
}

void File::read_at(uint64_t offset, std::span<std::byte> out) const {
  size_t done = 0;
  while (done < out.size()) {
    const std::span<std::byte> rest = out.subspan(done);
    const ssize_t n = ::pread(fd_, rest.data(), rest.size(), static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      fail(ExitCode::kIo, path_.string(), ": cannot read at byte ", offset + done, ": ",
           system_message(errno));
    }
    if (n == 0) {
      fail(ExitCode::kIo, path_.string(), ": ends at byte ", offset + done, " instead of ",
           offset + out.size(), " or later; was it cut while it was read?");
    }
    done += static_cast<size_t>(n);
  }
}

void require_directory(const std::filesystem::path& dir) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(dir, error);
  if (status.type() == std::filesystem::file_type::directory) return;
  if (status.type() == std::filesystem::file_type::not_found) {
    fail(ExitCode::kIo, dir.string(), ": no such directory");
  }
  if (error) fail(ExitCode::kIo, dir.string(), ": cannot open: ", error.message());
  fail(ExitCode::kIo, dir.string(), ": is a file; pass the model's directory");
}

bool path_exists(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::symlink_status(path, ignored).type() !=
         std::filesystem::file_type::not_found;
}

std::string read_model_file(const std::filesystem::path& path, uint64_t limit) {
  const File file = File::open(path);
  if (file.size() > limit) {
    fail(ExitCode::kModel, path.string(), ": has ", file.size(), " bytes, more than the ", limit,
         " that are accepted");
  }
  std::string text(static_cast<size_t>(file.size()), '\0');
  file.read_at(0, std::as_writable_bytes(std::span<char>(text)));
  return text;
}

std::string_view sniff_wrong_format(std::string_view first_bytes) {
  using namespace std::string_view_literals;
  struct Magic {
    std::string_view prefix;
    std::string_view meaning;
  };
  static constexpr std::array kMagics = {
      Magic{"version https://git-lfs"sv,
            "is a git-LFS pointer, not the file itself: run git lfs pull"},
      Magic{"GGUF"sv, "is a GGUF file, which is not supported"},
      Magic{"PK\x03\x04"sv, "is a ZIP archive or a PyTorch pickle, which is not supported"},
      Magic{"\x80\x02"sv, "is a Python pickle, which is not supported"},
      Magic{"\x80\x03"sv, "is a Python pickle, which is not supported"},
      Magic{"\x80\x04"sv, "is a Python pickle, which is not supported"},
      Magic{"\x80\x05"sv, "is a Python pickle, which is not supported"},
      Magic{"\x1f\x8b"sv, "is gzip-compressed: unpack it first"},
      Magic{"\x89HDF"sv, "is an HDF5 file, which is not supported"},
      Magic{"IQ== 0"sv, "is a tiktoken vocabulary, which is not supported"},
  };
  for (const Magic& magic : kMagics) {
    if (first_bytes.starts_with(magic.prefix)) return magic.meaning;
  }
  if (is_web_page(first_bytes)) return "is a web page, not model data: download the file again";
  if (is_json(first_bytes)) return "is JSON text, not binary model data";
  return {};
}

}  // namespace winnow
