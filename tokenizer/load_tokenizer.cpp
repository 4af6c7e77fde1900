#include <array>
#include <span>

#include "src/base/error.h"
#include "src/base/file.h"
#include "tokenizer/bpe_files.h"
#include "tokenizer/bpe_json.h"
#include "tokenizer/bpe_tokenizer.h"
#include "tokenizer/spm.h"
#include "tokenizer/spm_file.h"
#include "tokenizer/tiktoken.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/tokenizer_config.h"

namespace winnow {
namespace {

using Path = std::filesystem::path;

std::unique_ptr<Tokenizer> load_spm(const std::string& bytes, const Path& path,
                                    const TokenizerConfig& config) {
  SpmFile file = parse_spm_file(std::as_bytes(std::span(bytes)), path.string());
  const bool has_bos = file.bos >= 0;
  const bool adds_bos = config.adds_bos().value_or(has_bos);
  if (adds_bos && !has_bos) {
    config.reject("add_bos_token is true, but tokenizer.model has no bos piece");
  }
  return std::make_unique<SpmTokenizer>(std::move(file), adds_bos, path.string());
}

std::unique_ptr<Tokenizer> load_bpe(BpeModel model, const TokenizerConfig& config) {
  settle_control_tokens(config, model);
  return std::make_unique<BpeTokenizer>(std::move(model));
}

std::unique_ptr<Tokenizer> load_rank_file(const std::string& text, const Path& path,
                                          const TokenizerConfig& config) {
  const std::vector<std::string> pieces = parse_rank_file(text, path.string());
  if (pieces.size() != kLlama3Pieces) {
    fail(ExitCode::kModel, path.string(), ": a tiktoken vocabulary of ", pieces.size(),
         " pieces is not supported; Llama-3's, of ", kLlama3Pieces, ", is");
  }
  return load_bpe(llama3_model(pieces, path.string()), config);
}

std::unique_ptr<Tokenizer> load_bpe_files(const Path& vocab, const Path& merges,
                                          const TokenizerConfig& config) {
  const std::string vocab_text = read_model_file(vocab, kMaxBpeFileBytes);
  const std::string merges_text = read_model_file(merges, kMaxBpeFileBytes);
  const std::string vocab_name = vocab.string();
  const std::string merges_name = merges.string();
  return load_bpe(parse_bpe_files({vocab_text, vocab_name}, {merges_text, merges_name}, config),
                  config);
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const Path& dir) {
  require_directory(dir);
  const TokenizerConfig config(dir);
  const Path model = dir / "tokenizer.model";
  const Path json = dir / "tokenizer.json";
  std::string model_bytes;
  if (path_exists(model)) {
    model_bytes = read_model_file(model, kMaxSpmFileBytes);
    if (!is_rank_file(model_bytes)) return load_spm(model_bytes, model, config);
  }
  if (path_exists(json)) {
    return load_bpe(parse_bpe_json(read_model_file(json, kMaxBpeFileBytes), json.string()), config);
  }
  if (!model_bytes.empty()) return load_rank_file(model_bytes, model, config);

  constexpr std::array<std::array<const char*, 2>, 2> kPairs = {
      {{"vocab.json", "merges.txt"}, {"encoder.json", "vocab.bpe"}}};
  for (const auto& [vocab, merges] : kPairs) {
    if (path_exists(dir / vocab) && path_exists(dir / merges)) {
      return load_bpe_files(dir / vocab, dir / merges, config);
    }
  }
  fail(ExitCode::kModel, dir.string(), ": has no tokenizer.model, no tokenizer.json, and no ",
       "vocab.json with merges.txt (or encoder.json with vocab.bpe)");
}

}  // namespace winnow
