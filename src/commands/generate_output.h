// What 'winnow generate' writes: the text or JSON on stdout, and the lines about the run.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "src/cli/console.h"
#include "src/cli/options.h"
#include "src/cli/output.h"
#include "src/commands/cache_files.h"
#include "src/generate.h"
#include "src/model.h"

namespace winnow {

/// Everything that the last lines and the JSON tell about a run.
struct RunRecord {
  const ModelFiles& files;
  const Model& model;
  const Sequence& sequence;
  const GenerateOptions& options;
  const GenerateRequest& request;
  const Generation& result;
  std::optional<CacheFileRecord> loaded = {};
  std::optional<CacheFileRecord> saved = {};

  size_t prompt_tokens() const { return request.prompt.size() + request.then.size(); }  // read now
  size_t text_tokens() const { return request.before.size() + prompt_tokens(); }
  int64_t rows_full() const;  // that a full cache would have held after the prompts
  uint64_t bytes_full() const;
  uint64_t row_bytes() const;
  double prompt_per_second() const;
  double predicted_per_second() const;
};

/// What is written while the run goes on, and at its end, by format.
class Printer {
 public:
  Printer(const GenerateOptions& options, const Tokenizer& tokenizer);

  /// The prompt, where it is to be echoed.
  void start(const std::string& prompt);
  void token(const GeneratedToken& token);
  void rest(const std::string& text);
  void finish(const RunRecord& run);

 private:
  const GenerateOptions& options_;
  const Tokenizer& tokenizer_;
  Output out_;
  std::string echoed_;
  std::vector<nlohmann::ordered_json> logprobs_;
};

/// The last lines, on stderr.
void print_summary(const Console& console, const RunRecord& run);

}  // namespace winnow
