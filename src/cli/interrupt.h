// Ctrl-C and SIGTERM: the first asks the run to stop at the next step, the second ends the process.
#pragma once

namespace winnow {

/// Installs the handlers for SIGINT and SIGTERM. They set a flag; a second signal calls _exit with
/// 130 or 143.
void install_interrupt_handlers();

/// The signal that asked to stop, or 0.
int interrupt_signal();

/// Fails with kInterrupted or kTerminated where a signal came. Called between blocks of a file,
/// rows of a prefill and tokens of a generation.
void check_interrupt();

/// Forgets a signal that came: chat goes on after one.
void clear_interrupt();

}  // namespace winnow
