// What was kept of a prompt, shown as the user asked for it: in the terminal, as a page, as JSON.
#pragma once

#include <optional>

#include "src/cli/console.h"
#include "src/cli/options.h"
#include "src/cli/output.h"
#include "src/generate.h"

namespace winnow {

/// --kv-show, --kv-map and --kv-dump. Files are opened at once: one that cannot be written is told
/// before a long prompt is read.
class KeptOutput {
 public:
  /// Fails with kIo.
  explicit KeptOutput(const GenerateOptions& options);

  /// Shows what `sequence` holds, which has read the prompts of `request` and written nothing yet.
  /// Fails with kIo.
  void show(const Tokenizer& tokenizer, const GenerateRequest& request, const Sequence& sequence,
            const Console& console);

 private:
  const GenerateOptions& options_;
  std::optional<Output> map_;
  std::optional<Output> dump_;
};

}  // namespace winnow
