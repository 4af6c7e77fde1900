// The commands of the binary: each takes its options, writes its result and says how it ended.
#pragma once

#include "src/base/error.h"
#include "src/cli/options.h"

namespace winnow {

ExitCode run_generate(const GenerateOptions& options);
ExitCode run_chat(const ChatOptions& options);
ExitCode run_tokenize(const TokenizeOptions& options);
ExitCode run_inspect(const InspectOptions& options);
ExitCode run_check(const CheckOptions& options);
ExitCode run_logits(const LogitsOptions& options);
ExitCode run_bench(const BenchOptions& options);
ExitCode run_eval(const EvalOptions& options);

}  // namespace winnow
