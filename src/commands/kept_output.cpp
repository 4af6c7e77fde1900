#include "src/commands/kept_output.h"

#include <string>
#include <vector>

#include "src/kv/kept_dump.h"
#include "src/kv/kept_map.h"
#include "src/kv/kept_text.h"

namespace winnow {
namespace {

/// What each token adds to the text; for those that add nothing, their names.
std::vector<std::string> token_texts(const Tokenizer& tokenizer, const GenerateRequest& request) {
  std::vector<std::string> texts;
  for (const auto* prompt : {&request.before, &request.prompt, &request.then}) {
    for (const int32_t id : *prompt) {
      std::string text =
          id < tokenizer.vocab_size() ? tokenizer.decode_piece(id, texts.empty()) : "";
      if (text.empty() && id < tokenizer.vocab_size()) text = tokenizer.piece(id);
      texts.push_back(std::move(text));
    }
  }
  return texts;
}

}  // namespace

KeptOutput::KeptOutput(const GenerateOptions& options) : options_(options) {
  if (!options.kv_map.empty()) map_.emplace(options.kv_map);
  if (!options.kv_dump.empty()) dump_.emplace(options.kv_dump);
}

void KeptOutput::show(const Tokenizer& tokenizer, const GenerateRequest& request,
                      const Sequence& sequence, const Console& console) {
  if (!options_.kv_show && !map_ && !dump_) return;
  KeptRecord record = sequence.cache().kept();
  record.policy = options_.kv.policy;
  const int64_t budget = sequence.kv_settings().budget;
  if (budget != KvSettings::kNoBudget) record.budget = budget;
  const std::vector<std::string> texts = token_texts(tokenizer, request);
  if (options_.kv_show) console.summary(kept_text(record, texts, console.color()));
  if (map_) map_->write(kept_map(record, texts));
  if (dump_) dump_->write(kept_json(record));
}

}  // namespace winnow
