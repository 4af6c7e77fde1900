// Runs of the binary over a small random model or the bundled one, and what they must look like.
#pragma once

#include <doctest/doctest.h>

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/spm_model.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace winnow::test {

using OrderedJson = nlohmann::ordered_json;

inline constexpr const char* kDemo = "weights/demo";

/// A model directory with all that a run needs. "x x x" is three tokens of it, and BOS. Its random
/// weights write byte pieces, mostly: text that is seldom valid UTF-8.
class TinyDir {
 public:
  explicit TinyDir(TinyModel model = {}, const std::string& more_config = "") {
    model.vocab_size = kVocabSize;
    write_tiny_model(dir_.path(), model);
    write_file(dir_ / "config.json", tiny_config_json(model, more_config));
    write_file(dir_ / "tokenizer.model", serialize_spm_file(small_spm(pieces())));
  }

  static constexpr int64_t kVocabSize = 300;  // the last ids have no piece
  static Words pieces() {
    const std::string space(kSpmSpace);
    return {space + "x", space, "x", "a", "b", "\n"};
  }

  std::string name() const { return dir_.path().string(); }
  std::filesystem::path operator/(std::string_view file) const { return dir_ / file; }

 private:
  TempDir dir_;
};

/// "x x x": `n` tokens of a TinyDir.
inline std::string text_of(int64_t n) {
  std::string text;
  for (int64_t i = 0; i < n; ++i) text += i == 0 ? "x" : " x";
  return text;
}

inline Words joined(Words first, const Words& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

inline Words lines_of(const std::string& text) {
  std::istringstream in(text);
  Words lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

inline OrderedJson json_of(const std::string& text) {
  CAPTURE(text);
  OrderedJson json = OrderedJson::parse(text, nullptr, false);
  REQUIRE_FALSE(json.is_discarded());
  return json;
}

/// Runs that must end well.
inline Finished succeed(ProcessSpec spec) {
  Finished run = test::run(std::move(spec));
  CAPTURE(run.err);
  REQUIRE(run.code == 0);
  return run;
}
inline Finished succeed(Words arguments) {
  return succeed(ProcessSpec{.arguments = std::move(arguments)});
}

/// The result of `winnow ... --json -q`.
inline OrderedJson json_result(const Words& arguments) {
  return json_of(succeed(joined(arguments, {"--json", "-q"})).out);
}

/// The same, and what --kv-dump wrote.
struct KeptRun {
  OrderedJson json;
  OrderedJson kept;

  /// Rows of each KV head of each layer, in their order.
  std::vector<int64_t> rows() const {
    std::vector<int64_t> counts;
    for (const OrderedJson& layer : kept["layers"]) {
      for (const OrderedJson& head : layer["heads"]) {
        counts.push_back(static_cast<int64_t>(head["positions"].size()));
      }
    }
    return counts;
  }
};
inline KeptRun kept_run(const Words& arguments) {
  const TempDir dir;
  const std::string file = (dir / "kept.json").string();
  OrderedJson json = json_result(joined(arguments, {"--kv-dump", file}));
  return {std::move(json), json_of(read_file(file))};
}

/// English of `n` sentences, each about 20 tokens of the bundled model and unlike the others.
inline std::string story(int64_t n) {
  const Words who = {"captain", "old man", "doctor", "girl", "king", "soldier", "priest"};
  const Words where = {"house", "river", "ship", "forest", "garden"};
  std::string text;
  for (int64_t i = 0; i < n; ++i) {
    const auto at = static_cast<size_t>(i);
    text += "On day " + std::to_string(i + 1) + " the " + who[at % who.size()] + " went to the " +
            where[at % where.size()] + " and said that the night would be dark. ";
  }
  return text;
}

/// Nothing on stdout, and on stderr one line "winnow: ..." that holds each of `parts`. Warnings may
/// come before it, and where the run had begun, the plan and the seed that it told.
inline void check_failure(const Finished& run, int code,
                          std::initializer_list<std::string_view> parts = {}) {
  CAPTURE(run.err);
  CHECK(run.code == code);
  CHECK(run.out.empty());
  const bool refused = code == 2 || code == 3 || code == 7;
  Words lines = lines_of(run.err);
  std::erase_if(lines, [&](const std::string& line) {
    return line.starts_with("winnow: warning: ") || (!refused && !line.starts_with("winnow: "));
  });
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].starts_with("winnow: "));
  for (const std::string_view part : parts) {
    INFO("expected in the message: ", std::string(part));
    CHECK(lines[0].find(part) != std::string::npos);
  }
}

inline void fails(ProcessSpec spec, int code, std::initializer_list<std::string_view> parts = {}) {
  std::string shown;
  for (const std::string& word : spec.arguments) shown += " " + word.substr(0, 100);
  CAPTURE(shown);
  check_failure(test::run(std::move(spec)), code, parts);
}
inline void fails(Words arguments, int code, std::initializer_list<std::string_view> parts = {}) {
  fails(ProcessSpec{.arguments = std::move(arguments)}, code, parts);
}

}  // namespace winnow::test
