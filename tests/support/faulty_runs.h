// Runs of winnow_faulty: the program, one of whose calls fails (tests/faults/faults.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/winnow_runs.h"

namespace winnow::test {

/// A command line, and how it ends where nothing fails.
class FaultyRun {
 public:
  /// With `sees_gpu` the run sees the GPU, if there is one.
  explicit FaultyRun(Words arguments, bool sees_gpu = false)
      : arguments_(std::move(arguments)), sees_gpu_(sees_gpu) {
    REQUIRE_MESSAGE(std::filesystem::exists(program()), "no ", program(),
                    ", which make test builds");
    whole_ = run("");
    CAPTURE(whole_.err);
    REQUIRE(whole_.code == 0);
  }

  const Finished& whole() const { return whole_; }

  /// `fault` as FAULT has it: "new:17".
  Finished run(const std::string& fault) const {
    ProcessSpec spec{.arguments = arguments_};
    spec.program = program();
    spec.environment = {{"FAULT", fault.empty() ? std::nullopt : std::optional(fault)},
                        {"FAULT_COUNTS", (dir_ / "counts").string()}};
    if (sees_gpu_) spec.environment["CUDA_VISIBLE_DEVICES"] = visible_gpus();
    return test::run(spec);
  }

  /// How many calls of a kind there are where nothing fails.
  int64_t calls(const std::string& kind) const {
    run("");
    std::ifstream counts(dir_ / "counts");
    std::string name;
    int64_t n = 0;
    while (counts >> name >> n) {
      if (name == kind) return n;
    }
    FAIL("no kind ", kind);
    return 0;
  }

  /// Fails the calls of a kind one after the other, `most` of them, spread evenly from the first to
  /// the last. `after` ends the fault: "+": all that follow fail, too; "=700": with this code. Each
  /// run ends with one line and `code`, and what it wrote is the beginning of what it would have
  /// written; or, where the call was not needed, as if nothing had failed. `after_each` looks at
  /// what is left behind.
  template <class Look>
  void sweep(const std::string& kind, const std::string& after, int64_t most, int code,
             const Look& after_each) const {
    const int64_t n = calls(kind);
    REQUIRE(n > 0);
    const int64_t runs = std::min(n, most);
    int64_t failed = 0;
    for (int64_t i = 0; i < runs; ++i) {
      const int64_t call = runs == 1 ? 1 : 1 + i * (n - 1) / (runs - 1);
      const std::string fault = kind + ":" + std::to_string(call) + after;
      const Finished end = run(fault);
      CAPTURE(fault);
      CAPTURE(end.err);
      after_each(end);
      if (end.code == 0) {
        CHECK(end.out == whole_.out);
        continue;
      }
      ++failed;
      CHECK(whole_.out.starts_with(end.out));
      Finished quiet = end;
      quiet.out.clear();
      check_failure(quiet, code);
    }
    CHECK(failed * 2 > runs);  // most calls are needed
  }
  void sweep(const std::string& kind, const std::string& after, int64_t most, int code) const {
    sweep(kind, after, most, code, [](const Finished&) {});
  }

 private:
  static std::string program() {
    return (std::filesystem::path(binary_path()).parent_path() / "tests/winnow_faulty").string();
  }

  /// As this process sees them.
  static std::optional<std::string> visible_gpus() {
    const char* const value = std::getenv("CUDA_VISIBLE_DEVICES");
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  }

  Words arguments_;
  bool sees_gpu_;
  TempDir dir_;
  Finished whole_;
};

}  // namespace winnow::test
