#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>

#include "src/base/file.h"
#include "tests/support/expect_error.h"
#include "tests/support/temp_dir.h"

namespace winnow {
namespace {

using test::expect_error;
using test::TempDir;
using test::write_file;

void expect_not_opened(const std::filesystem::path& path, std::string_view cause) {
  expect_error(ExitCode::kIo, {path.string(), cause}, [&] { File::open(path); });
}

std::string read(const File& file, uint64_t offset, size_t n) {
  std::string text(n, '\0');
  file.read_at(offset, std::as_writable_bytes(std::span<char>(text)));
  return text;
}

TEST_CASE("file: bytes are read from any offset") {
  const TempDir dir;
  write_file(dir / "a", "hello world");
  const File file = File::open(dir / "a");
  CHECK(file.size() == 11);
  CHECK(file.path() == dir / "a");
  CHECK(read(file, 0, 11) == "hello world");
  CHECK(read(file, 6, 5) == "world");
  CHECK(read(file, 11, 0).empty());
}

TEST_CASE("file: moving keeps it open") {
  const TempDir dir;
  write_file(dir / "a", "first");
  write_file(dir / "b", "second");
  File a = File::open(dir / "a");
  File b = std::move(a);
  CHECK(read(b, 0, 5) == "first");
  b = File::open(dir / "b");
  CHECK(read(b, 0, 6) == "second");
}

TEST_CASE("file: a read past the end is an error that names the byte") {
  const TempDir dir;
  write_file(dir / "a", "0123456789");
  const File file = File::open(dir / "a");
  expect_error(ExitCode::kIo, {file.path().string(), "ends at byte 10"}, [&] { read(file, 4, 7); });
  std::filesystem::resize_file(dir / "a", 3);  // cut while it is open
  expect_error(ExitCode::kIo, {file.path().string(), "ends at byte 3"}, [&] { read(file, 0, 10); });
}

TEST_CASE("file: what is no regular file is refused at once") {
  const TempDir dir;
  expect_not_opened(dir / "missing", "No such file");
  expect_not_opened(dir.path(), "is a directory");

  REQUIRE(::mkfifo((dir / "fifo").c_str(), 0600) == 0);
  expect_not_opened(dir / "fifo", "not a regular file");

  expect_not_opened("/dev/zero", "not a regular file");

  std::filesystem::create_symlink("nowhere", dir / "dangling");
  expect_not_opened(dir / "dangling", "No such file");
  std::filesystem::create_symlink("loop", dir / "loop");
  expect_not_opened(dir / "loop", "symbolic links");

  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string name = (dir / "socket").string();
  REQUIRE(name.size() < sizeof(address.sun_path));
  std::memcpy(address.sun_path, name.c_str(), name.size() + 1);
  REQUIRE(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  expect_not_opened(name, "cannot open");
  ::close(socket);
}

TEST_CASE("file: an unreadable file is refused") {
  if (::geteuid() == 0) {
    MESSAGE("skipped: root reads everything");
    return;
  }
  const TempDir dir;
  write_file(dir / "secret", "x");
  REQUIRE(::chmod((dir / "secret").c_str(), 0) == 0);
  expect_not_opened(dir / "secret", "Permission denied");
}

TEST_CASE("file: directories are told from files and from nothing") {
  const TempDir dir;
  write_file(dir / "a", "x");
  require_directory(dir.path());
  expect_error(ExitCode::kIo, {"is a file; pass the model's directory"},
               [&] { require_directory(dir / "a"); });
  expect_error(ExitCode::kIo, {"no such directory"}, [&] { require_directory(dir / "b"); });
  std::filesystem::create_symlink("nowhere", dir / "dangling");
  CHECK(path_exists(dir / "a"));
  CHECK(path_exists(dir / "dangling"));
  CHECK_FALSE(path_exists(dir / "b"));
}

TEST_CASE("file: small model files are read whole, up to a limit") {
  const TempDir dir;
  write_file(dir / "a", std::string("x\0y", 3));
  CHECK(read_model_file(dir / "a", 3) == std::string("x\0y", 3));
  expect_error(ExitCode::kModel, {(dir / "a").string(), "3 bytes", "2"},
               [&] { read_model_file(dir / "a", 2); });
}

TEST_CASE("file: other formats are told by their first bytes") {
  const auto names = [](std::string_view bytes, std::string_view word) {
    return sniff_wrong_format(bytes).find(word) != std::string_view::npos;
  };
  CHECK(names("version https://git-lfs.github.com/spec/v1\n", "git lfs pull"));
  CHECK(names("<!DOCTYPE html>", "web page"));
  CHECK(names("\n <HTML>", "web page"));
  CHECK(names("PK\x03\x04....", "ZIP"));
  CHECK(names("\x80\x02}q", "pickle"));
  CHECK(names("GGUF\x03", "GGUF"));
  CHECK(names("\x1f\x8b\x08", "gzip"));
  CHECK(names("{\"a\": 1}", "JSON"));
  CHECK(names("IQ== 0\nIg== 1\n", "tiktoken"));
  CHECK(sniff_wrong_format("").empty());
  CHECK(sniff_wrong_format("<unk>").empty());
  CHECK(sniff_wrong_format(std::string_view("\x0a\x0e\x0a\x05<unk>", 9)).empty());
}

TEST_CASE("error: names from files are shown on one line") {
  CHECK(quoted("plain é") == "'plain é'");
  CHECK(quoted(std::string_view("a\0b\n\x1b\x7f", 6)) == "'a\\x00b\\x0a\\x1b\\x7f'");
  CHECK(quoted("\xff\xc0\x80") == "'\\xff\\xc0\\x80'");
  CHECK(quoted("\xc2\x9b") == "'\\xc2\\x9b'");  // a C1 control opens an escape sequence too
  CHECK(quoted(std::string(96, 'a')) == "'" + std::string(96, 'a') + "'");
  CHECK(quoted(std::string(97, 'a')) == "'" + std::string(96, 'a') + "...'");
  CHECK(quoted(std::string(95, 'a') + "é") == "'" + std::string(95, 'a') + "...'");
}

}  // namespace
}  // namespace winnow
