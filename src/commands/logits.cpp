// winnow logits: the logits of every position of a text, as a .npy file.
#include <algorithm>
#include <vector>

#include "src/cli/interrupt.h"
#include "src/cli/progress.h"
#include "src/cli/prompt.h"
#include "src/commands/commands.h"
#include "src/commands/session.h"
#include "src/commands/watching.h"
#include "src/npy.h"

namespace winnow {
namespace {

std::vector<int32_t> tokens_of(const LogitsOptions& options, const ModelFiles& files,
                               const Console& console) {
  if (options.ids.empty()) {
    return encode_prompt(*files.tokenizer, read_text(options.prompt, {}, console), options.bos);
  }
  for (const int32_t id : options.ids) {
    if (id >= files.config.vocab_size) {
      fail(ExitCode::kUsage, "--ids: ", id, " is no token: vocab_size is ",
           files.config.vocab_size);
    }
  }
  return options.ids;
}

/// Writes the logits of some rows, as many at a time as fit a few MiB.
class RowWriter {
 public:
  RowWriter(const Model& model, NpyWriter& file)
      : model_(model),
        file_(file),
        vocab_size_(model.config.vocab_size),
        rows_(std::clamp<int64_t>(kFloats / vocab_size_, 1, kMostRows)),
        host_(static_cast<size_t>(rows_ * vocab_size_)) {
    device_ =
        model.device->scratch_region().allocate_array<float>("all logits", rows_ * vocab_size_);
  }

  void write(const Batch& batch, const Activations& a) {
    for (int64_t first = 0; first < batch.n; first += rows_) {
      const Batch rows =
          slice(batch, first, std::min(rows_, batch.n - first), model_.config.hidden_size);
      const auto count = static_cast<size_t>(rows.n * vocab_size_);
      model_.device->logits(model_.weights, rows, a, device_);
      model_.device->download(host_.data(), device_, count * sizeof(float));
      file_.append({host_.data(), count});
    }
  }

  static uint64_t bytes(int64_t vocab_size) {
    const int64_t rows = std::clamp<int64_t>(kFloats / vocab_size, 1, kMostRows);
    return static_cast<uint64_t>(rows * vocab_size) * sizeof(float) + Region::kAlignment;
  }

 private:
  static constexpr int64_t kFloats = 1 << 20;
  static constexpr int64_t kMostRows = 256;

  const Model& model_;
  NpyWriter& file_;
  int64_t vocab_size_;
  int64_t rows_;
  std::vector<float> host_;  // [rows, vocab_size]
  float* device_ = nullptr;  // [rows, vocab_size]
};

}  // namespace

ExitCode run_logits(const LogitsOptions& options) {
  const Console console(options.model);
  const bool by_ids = !options.ids.empty();  // no tokenizer is needed then
  const ModelFiles files =
      noted(by_ids ? open_network(options.model.dir) : open_model(options.model.dir), console);
  const std::vector<int32_t> tokens = tokens_of(options, files, console);
  const auto n = static_cast<int64_t>(tokens.size());
  const int64_t context = context_size(files.config, options.compute.context, console);
  if (n > context) {
    fail(ExitCode::kPrompt, "the prompt does not fit: ", n, " tokens, and the context holds ",
         context);
  }
  const RunShape shape{.capacity = n,
                       .prompt_tokens = n,
                       .prefill_rows = options.compute.prefill_rows,
                       .extra_scratch = RowWriter::bytes(files.config.vocab_size)};
  NpyWriter file(options.file, n, files.config.vocab_size);
  Watching watching({});
  watching.dump_to(open_dump(options.dump, files.config));
  const Model model =
      load_with_progress(files, open_device(files, options.compute, console, watching.observers()),
                         options.model, shape, console);
  Sequence sequence(model.network(), n, shape.prefill_rows);
  RowWriter writer(model, file);
  Progress progress(options.model.progress, "prefill", "rows");
  PrefillHooks hooks;
  hooks.progress = [&](uint64_t done, uint64_t total) {
    check_interrupt();
    progress.update(done, total);
  };
  hooks.final_rows = [&](const Batch& rows, const Activations& a) { writer.write(rows, a); };
  sequence.prefill(tokens, hooks);
  file.finish();
  return ExitCode::kOk;
}

}  // namespace winnow
