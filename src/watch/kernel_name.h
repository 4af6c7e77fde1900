// A kernel's name as people know it.
#pragma once

#include <string>

namespace winnow {

/// Of this program's kernels the function's name, "rope_kernel"; of others what the linker's name
/// stands for, without arguments and at most 80 characters. What is no such name stays.
std::string short_kernel_name(const char* linker_name);

}  // namespace winnow
