// NpyWriter: what NumPy reads, whole files or none, and errors that name the path.
#include <doctest/doctest.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "src/npy.h"
#include "tests/npy.h"
#include "tests/support/expect_error.h"
#include "tests/support/temp_dir.h"

namespace winnow::test {
namespace {

std::vector<std::string> names_in(const std::filesystem::path& dir) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// No file of this process may grow past `bytes` while this lives.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    old_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &old_) == 0);
    const rlimit limit{bytes, old_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_{};
  void (*old_handler_)(int) = nullptr;
};

TEST_CASE("npy: a matrix comes back with its shape and values, however it was cut") {
  const TempDir dir;
  std::vector<float> values(3 * 5);
  std::iota(values.begin(), values.end(), -7.25F);
  const std::span<const float> all(values);

  NpyWriter writer(dir / "m.npy", 3, 5);
  writer.append(all.first(1));
  writer.append({});
  writer.append(all.subspan(1, 9));
  writer.append(all.subspan(10));
  writer.finish();

  const NpyArray<float> read = read_npy<float>(dir / "m.npy");
  CHECK(read.shape == std::vector<int64_t>{3, 5});
  CHECK(read.values == values);
  CHECK(names_in(dir.path()) == std::vector<std::string>{"m.npy"});
}

TEST_CASE("npy: the bytes are those of numpy.save") {
  const TempDir dir;
  NpyWriter writer(dir / "m.npy", 1, 2);
  writer.append(std::vector<float>{1.0F, -2.0F});
  writer.finish();

  std::string expected("\x93NUMPY\x01\x00\x76\x00", 10);
  expected += "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }";
  expected.resize(127, ' ');
  expected += '\n';
  expected += std::string("\x00\x00\x80\x3f\x00\x00\x00\xc0", 8);
  CHECK(read_file(dir / "m.npy") == expected);
}

TEST_CASE("npy: the data starts at a multiple of 64 bytes for every shape") {
  const TempDir dir;
  for (const int64_t n_rows : {0, 1, 12, 123, 1234, 12345, 123456}) {
    CAPTURE(n_rows);
    NpyWriter writer(dir / "m.npy", n_rows, 1);
    writer.append(std::vector<float>(static_cast<size_t>(n_rows)));
    writer.finish();
    const size_t data_bytes = static_cast<size_t>(n_rows) * sizeof(float);
    CHECK((std::filesystem::file_size(dir / "m.npy") - data_bytes) % 64 == 0);
    CHECK(read_npy<float>(dir / "m.npy").shape == std::vector<int64_t>{n_rows, 1});
  }
}

TEST_CASE("npy: an unfinished matrix leaves the old file as it was, and no other") {
  const TempDir dir;
  write_file(dir / "m.npy", "old");
  {
    NpyWriter writer(dir / "m.npy", 2, 2);
    writer.append(std::vector<float>{1, 2, 3});
    CHECK(names_in(dir.path()).size() == 2);
  }
  CHECK(names_in(dir.path()) == std::vector<std::string>{"m.npy"});
  CHECK(read_file(dir / "m.npy") == "old");
}

TEST_CASE("npy: a finished matrix replaces the old file") {
  const TempDir dir;
  write_file(dir / "m.npy", "old");
  NpyWriter writer(dir / "m.npy", 1, 1);
  writer.append(std::vector<float>{4});
  writer.finish();
  CHECK(read_npy<float>(dir / "m.npy").values == std::vector<float>{4});
}

TEST_CASE("npy: too few and too many values are internal errors") {
  const TempDir dir;
  NpyWriter writer(dir / "m.npy", 2, 2);
  writer.append(std::vector<float>{1, 2, 3});
  expect_error(ExitCode::kInternal, {"1 values are missing"}, [&] { writer.finish(); });
  expect_error(ExitCode::kInternal, {"2 values where 1 are missing"}, [&] {
    writer.append(std::vector<float>{4, 5});
  });
}

TEST_CASE("npy: what cannot be written is kIo and names the path") {
  const TempDir dir;
  const auto open = [](const std::filesystem::path& path) { NpyWriter(path, 1, 1); };
  expect_error(ExitCode::kIo, {"absent/m.npy", "No such file"},
               [&] { open(dir / "absent/m.npy"); });
  expect_error(ExitCode::kIo, {dir.path().filename().string(), "not a regular file"},
               [&] { open(dir.path()); });
  expect_error(ExitCode::kIo, {"/dev/full", "not a regular file"}, [&] { open("/dev/full"); });
  CHECK(std::filesystem::is_character_file("/dev/full"));
  CHECK(names_in(dir.path()).empty());
}

TEST_CASE("npy: a write that fails midway is kIo and leaves nothing behind") {
  const TempDir dir;
  const FileSizeLimit limit(4096);
  expect_error(ExitCode::kIo, {"m.npy", "cannot write", "File too large"}, [&] {
    NpyWriter writer(dir / "m.npy", 4, 1024);
    const std::vector<float> row(1024);
    for (int i = 0; i < 4; ++i) writer.append(row);
  });
  CHECK(names_in(dir.path()).empty());
}

TEST_CASE("npy: the tests' own reader refuses what it does not know") {
  const TempDir dir;
  const auto refuse = [&](const std::string& bytes) {
    write_file(dir / "m.npy", bytes);
    CHECK_THROWS_AS(read_npy<float>(dir / "m.npy"), std::runtime_error);
  };
  NpyWriter writer(dir / "good.npy", 1, 2);
  writer.append(std::vector<float>{1, 2});
  writer.finish();
  const std::string good = read_file(dir / "good.npy");
  const auto replaced = [&good](const std::string& from, const std::string& to) {
    std::string bytes = good;
    return bytes.replace(bytes.find(from), from.size(), to);
  };

  refuse("");
  refuse(good.substr(0, 9));
  refuse(good.substr(0, 60));
  refuse(good.substr(0, good.size() - 1));
  refuse(good + "x");
  refuse(replaced("NUMPY", "NUMBY"));
  refuse(replaced("<f4", "<i8"));
  refuse(replaced("False", "True "));
  refuse(replaced("(1, 2)", "(2, 2)"));
  refuse(replaced("(1, 2)", "(-1,2)"));
  CHECK_THROWS_AS(read_npy<int64_t>(dir / "good.npy"), std::runtime_error);
  CHECK_THROWS_AS(read_npy<float>(dir / "absent.npy"), std::runtime_error);
}

}  // namespace
}  // namespace winnow::test
