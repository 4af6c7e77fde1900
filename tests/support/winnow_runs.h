// Runs of the binary over a small random model or the bundled one, and what they must look like.
#pragma once

#include <doctest/doctest.h>

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace winnow::test {

using OrderedJson = nlohmann::ordered_json;

inline constexpr const char* kDemo = "weights/demo";

/// A model directory with all that a run needs. "x x x" is three tokens of it, and BOS. Its random
/// weights write byte pieces, mostly: text that is seldom valid UTF-8.
class TinyDir {
 public:
  explicit TinyDir(TinyModel model = {}, const std::string& more_config = "");

  static constexpr int64_t kVocabSize = 300;  // the last ids have no piece
  static Words pieces();

  std::string name() const { return dir_.path().string(); }
  std::filesystem::path operator/(std::string_view file) const { return dir_ / file; }

 private:
  TempDir dir_;
};

/// "x x x": `n` tokens of a TinyDir.
std::string text_of(int64_t n);

Words joined(Words first, const Words& second);

Words lines_of(const std::string& text);

OrderedJson json_of(const std::string& text);

/// Runs that must end well.
Finished succeed(ProcessSpec spec);
Finished succeed(Words arguments);

/// The result of `winnow ... --json -q`.
OrderedJson json_result(const Words& arguments);

/// The same, and what --kv-dump wrote.
struct KeptRun {
  OrderedJson json;
  OrderedJson kept;

  /// Rows of each KV head of each layer, in their order.
  std::vector<int64_t> rows() const;
};
KeptRun kept_run(const Words& arguments);

/// English of `n` sentences, each about 20 tokens of the bundled model and unlike the others.
std::string story(int64_t n);

/// Nothing on stdout, and on stderr one line "winnow: ..." that holds each of `parts`. Warnings may
/// come before it, and where the run had begun, the plan and the seed that it told.
void check_failure(const Finished& run, int code,
                   std::initializer_list<std::string_view> parts = {});

void fails(ProcessSpec spec, int code, std::initializer_list<std::string_view> parts = {});
void fails(Words arguments, int code, std::initializer_list<std::string_view> parts = {});

}  // namespace winnow::test
