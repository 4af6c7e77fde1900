// winnow tokenize: text in, ids and pieces out. Needs a tokenizer and nothing else of a model.
#include <nlohmann/json.hpp>

#include "src/cli/console.h"
#include "src/cli/output.h"
#include "src/cli/prompt.h"
#include "src/commands/commands.h"
#include "tokenizer/tokenizer.h"

namespace winnow {
namespace {

std::string as_json(const Tokenizer& tokenizer, const std::vector<int32_t>& tokens) {
  nlohmann::ordered_json json;
  json["tokens"] = tokens;
  json["pieces"] = nlohmann::ordered_json::array();
  for (const int32_t token : tokens) json["pieces"].push_back(tokenizer.piece(token));
  return json.dump() + "\n";
}

/// A line a token: its id, and its piece as a JSON string, so that a line break stays on its line.
std::string as_text(const Tokenizer& tokenizer, const std::vector<int32_t>& tokens) {
  std::string text;
  for (const int32_t token : tokens) {
    text += std::to_string(token) + '\t' + nlohmann::json(tokenizer.piece(token)).dump() + '\n';
  }
  return text;
}

}  // namespace

ExitCode run_tokenize(const TokenizeOptions& options) {
  const Console console(options.model);
  const auto tokenizer = load_tokenizer(options.model.dir);
  const std::string text = read_text(options.text, {.strip_mark = false}, console);
  std::vector<int32_t> tokens = tokenizer->encode(text);
  prepend_bos(*tokenizer, options.bos, tokens);
  Output out(options.output.file);
  out.write(options.output.format == Format::kJson ? as_json(*tokenizer, tokens)
                                                   : as_text(*tokenizer, tokens));
  return ExitCode::kOk;
}

}  // namespace winnow
