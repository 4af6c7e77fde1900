// Any bytes as config.json and as a safetensors file: accepted, or refused by an Error.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "src/base/error.h"
#include "src/base/file.h"
#include "weights/config.h"
#include "weights/safetensors.h"

namespace {

void try_config(std::string_view text) {
  try {
    winnow::parse_config(text, "config.json");
  } catch (const winnow::Error&) {  // the expected answer to most inputs
  }
}

/// Every tensor of a header that is accepted must lie inside the file.
void try_safetensors(std::string_view bytes) {
  const int fd = memfd_create("fuzz", MFD_CLOEXEC);
  if (fd < 0 || write(fd, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
    __builtin_trap();
  }
  try {
    const auto file = winnow::File::open("/proc/self/fd/" + std::to_string(fd));
    for (const winnow::TensorInfo& tensor : winnow::read_safetensors_header(file)) {
      if (tensor.offset > bytes.size() || tensor.bytes > bytes.size() - tensor.offset) {
        __builtin_trap();
      }
    }
  } catch (const winnow::Error&) {
  }
  close(fd);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try_config(bytes);
  try_safetensors(bytes);
  // The fuzzer rarely guesses the eight bytes of a header's length: it is also given one that fits.
  std::string framed(8, '\0');
  for (size_t i = 0; i < 8; ++i) framed[i] = static_cast<char>((size >> (8 * i)) & 0xff);
  try_safetensors(framed + std::string(bytes) + std::string(64, '\0'));
  return 0;
}
