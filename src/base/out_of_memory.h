// The end of a program that has no memory left, where no exception can carry the news.
#pragma once

#include <new>

namespace winnow {

/// Writes "winnow: out of memory" to stderr and ends the process with kMemory, at once: needs no
/// memory, unwinds nothing, and leaves files that are being written as they are.
[[noreturn]] void end_out_of_memory() noexcept;

/// To be called once, by main(): what nobody can catch, an exception out of a destructor or out of
/// a thread, ends the process in one line, too: like end_out_of_memory() where memory ran out, else
/// with kInternal.
void install_last_handlers() noexcept;

/// While it lives, memory that runs out ends the process, and std::bad_alloc is not thrown. For
/// calls of libraries that an exception would leave in pieces: protobuf, inside sentencepiece,
/// destroys what it had not yet built.
class EndOutOfMemory {
 public:
  EndOutOfMemory() : before_(std::set_new_handler(&end_out_of_memory)) {}
  EndOutOfMemory(const EndOutOfMemory&) = delete;
  EndOutOfMemory& operator=(const EndOutOfMemory&) = delete;
  ~EndOutOfMemory() { std::set_new_handler(before_); }

 private:
  std::new_handler before_;
};

}  // namespace winnow
