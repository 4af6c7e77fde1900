// How much memory this machine has left, and how much this process took.
#pragma once

#include <cstdint>

namespace winnow {

/// Bytes that a process can still take: what the kernel calls available, less where a limit of this
/// process (ulimit -v) or of its control group is nearer.
uint64_t available_host_memory();

/// The most memory this process ever held, in bytes (its peak resident set).
uint64_t peak_resident_bytes();

}  // namespace winnow
