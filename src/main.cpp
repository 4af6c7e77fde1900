// winnow: the command line in, an exit code out.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <new>
#include <optional>
#include <variant>

#include "src/base/error.h"
#include "src/base/out_of_memory.h"
#include "src/cli/console.h"
#include "src/cli/interrupt.h"
#include "src/cli/options.h"
#include "src/commands/commands.h"

namespace winnow {
namespace {

/// A closed stdin, stdout or stderr would be given to the next file that is opened. Each becomes
/// one that fails instead: reads and writes say so, and nothing lands in a model's file.
void occupy_closed_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(stream, F_GETFD) != -1) continue;
    const int wrong_way = stream == STDIN_FILENO ? O_WRONLY : O_RDONLY;
    if (open("/dev/null", wrong_way) != stream) _exit(static_cast<int>(ExitCode::kIo));
  }
}

struct RunCommand {
  ExitCode operator()(const GenerateOptions& options) const { return run_generate(options); }
  ExitCode operator()(const ChatOptions& options) const { return run_chat(options); }
  ExitCode operator()(const TokenizeOptions& options) const { return run_tokenize(options); }
  ExitCode operator()(const InspectOptions& options) const { return run_inspect(options); }
  ExitCode operator()(const CheckOptions& options) const { return run_check(options); }
  ExitCode operator()(const LogitsOptions& options) const { return run_logits(options); }
  ExitCode operator()(const BenchOptions& options) const { return run_bench(options); }
  ExitCode operator()(const EvalOptions& options) const { return run_eval(options); }
};

ExitCode run(int argc, const char* const* argv) {
  install_interrupt_handlers();
  const std::optional<CommandLine> command = parse_command_line(argc, argv);
  if (!command) return ExitCode::kOk;
  return std::visit(RunCommand{}, *command);
}

ExitCode run_and_report(int argc, const char* const* argv) {
  try {
    return run(argc, argv);
  } catch (const Error& error) {
    std::fprintf(stderr, "winnow: %s\n", one_line(error.what()).c_str());
    return error.code();
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "winnow: out of memory\n");
    return ExitCode::kMemory;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "winnow: internal error: %s\n", one_line(error.what()).c_str());
    return ExitCode::kInternal;
  }
}

}  // namespace
}  // namespace winnow

int main(int argc, char** argv) {
  winnow::install_last_handlers();
  winnow::occupy_closed_streams();
  return static_cast<int>(winnow::run_and_report(argc, argv));
}
