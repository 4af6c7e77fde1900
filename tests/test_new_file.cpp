#include <doctest/doctest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <set>

#include "src/base/new_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/temp_dir.h"

using namespace winnow;
using namespace winnow::test;

namespace {

std::set<std::string> names_in(const std::filesystem::path& dir) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

void write(NewFile& file, std::string_view text, uint64_t offset = 0) {
  file.write_at(offset, std::as_bytes(std::span(text)));
}

}  // namespace

TEST_CASE("new file: there with commit, and not before") {
  const TempDir dir;
  NewFile file(dir / "a");
  write(file, "world", 6);
  write(file, "hello ");
  CHECK_FALSE(std::filesystem::exists(dir / "a"));
  file.commit();
  CHECK(read_file(dir / "a") == "hello world");
  CHECK(names_in(dir.path()) == std::set<std::string>{"a"});
}

TEST_CASE("new file: without commit it is gone, and the old one is as it was") {
  const TempDir dir;
  write_file(dir / "a", "old");
  {
    NewFile file(dir / "a");
    write(file, "new");
    CHECK(read_file(dir / "a") == "old");
  }
  CHECK(read_file(dir / "a") == "old");
  CHECK(names_in(dir.path()) == std::set<std::string>{"a"});
  NewFile file(dir / "a");
  write(file, "new");
  file.commit();
  CHECK(read_file(dir / "a") == "new");
}

TEST_CASE("new file: two at a time, each whole; the last one wins") {
  const TempDir dir;
  NewFile first(dir / "a");
  NewFile second(dir / "a");
  write(first, "first");
  write(second, "2");
  second.commit();
  CHECK(read_file(dir / "a") == "2");
  first.commit();
  CHECK(read_file(dir / "a") == "first");
  CHECK(names_in(dir.path()) == std::set<std::string>{"a"});
}

TEST_CASE("new file: a link is followed") {
  const TempDir dir;
  std::filesystem::create_directory(dir / "there");
  write_file(dir / "there/a", "old");
  std::filesystem::create_symlink("there/a", dir / "link");
  NewFile file(dir / "link");
  write(file, "new");
  file.commit();
  CHECK(std::filesystem::is_symlink(dir / "link"));
  CHECK(read_file(dir / "there/a") == "new");
  CHECK(names_in(dir / "there") == std::set<std::string>{"a"});
}

TEST_CASE("new file: what cannot be a file is refused at once") {
  const TempDir dir;
  expect_error(ExitCode::kIo, {"not a regular file"}, [&] { NewFile file(dir.path()); });
  expect_error(ExitCode::kIo, {"not a regular file"}, [] { NewFile file("/dev/null"); });
  expect_error(ExitCode::kIo, {"/nowhere/a: cannot write: No such file"},
               [] { NewFile file("/nowhere/a"); });
}

TEST_CASE("new file: a disk that is full leaves the old file, and nothing beside it") {
  const TempDir dir;
  write_file(dir / "a", "old");
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &old) == 0);
  const rlimit limit = {.rlim_cur = 4096, .rlim_max = old.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  expect_error(ExitCode::kIo, {"/a: cannot write"}, [&] {
    NewFile file(dir / "a");
    write(file, std::string(5000, 'x'));
    file.commit();
  });
  ::setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, old_handler);
  CHECK(read_file(dir / "a") == "old");
  CHECK(names_in(dir.path()) == std::set<std::string>{"a"});
}
