// winnow check: is this directory a model that would run? Reads every byte of it, and no GPU.
#include <sstream>

#include "src/base/format_bytes.h"
#include "src/cli/interrupt.h"
#include "src/cli/output.h"
#include "src/cli/progress.h"
#include "src/commands/commands.h"
#include "src/commands/session.h"
#include "weights/scan.h"

namespace winnow {
namespace {

/// One line for all tensors with numbers that are none: the first five, and how many there are.
std::string describe(const std::vector<NonFinite>& found) {
  constexpr size_t kShown = 5;
  std::ostringstream text;
  text << found.size() << " tensor(s) hold values that are not finite:";
  for (size_t i = 0; i < found.size() && i < kShown; ++i) {
    text << (i == 0 ? " " : ", ") << quoted(found[i].tensor) << " (" << found[i].nan << " NaN, "
         << found[i].inf << " infinite, first at element " << found[i].first_index << ')';
  }
  return text.str();
}

}  // namespace

ExitCode run_check(const CheckOptions& options) {
  const Console console(options.model);
  const ModelFiles files = noted(open_model(options.model.dir), console);
  Progress progress(options.model.progress, "checking", "B");
  const auto found = find_non_finite(files.checkpoint, [&](uint64_t done, uint64_t total) {
    check_interrupt();
    progress.update(done, total);
  });
  progress.erase();
  if (!found.empty()) {
    fail(ExitCode::kModel, options.model.dir.string(), ": ", describe(found));
  }
  std::ostringstream line;
  line << "ok: " << files.config.n_layers << " layers, " << files.checkpoint.tensors.size()
       << " tensors, " << format_bytes(files.plan.bytes) << " of " << dtype_name(files.plan.type)
       << " weights, " << files.tokenizer->vocab_size() << " tokens\n";
  Output({}).write(line.str());
  return ExitCode::kOk;
}

}  // namespace winnow
