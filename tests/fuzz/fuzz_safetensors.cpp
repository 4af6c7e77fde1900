// libFuzzer entry: any bytes as a safetensors file. Every tensor of a header that is accepted lies
// inside the file, and none on another.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "src/base/error.h"
#include "src/base/file.h"
#include "tests/fuzz/memory_file.h"
#include "weights/safetensors.h"

namespace {

using namespace winnow;
using fuzz::require;

void try_file(std::string_view bytes) {
  const fuzz::MemoryFile file(bytes);
  try {
    uint64_t end = 0;
    for (const TensorInfo& tensor : read_safetensors_header(File::open(file.path()))) {
      require(tensor.offset >= end && tensor.offset <= bytes.size());
      require(tensor.bytes <= bytes.size() - tensor.offset);
      end = tensor.offset + tensor.bytes;
    }
  } catch (const Error& error) {
    require(error.code() == ExitCode::kModel);
  }
}

}  // namespace

// The fuzzer rarely guesses the eight bytes of a header's length: it is also given one that fits,
// with as many bytes of data as the first byte says.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try_file(bytes);
  if (size == 0) return 0;
  const uint64_t length = size - 1;
  std::string framed(8, '\0');
  for (size_t i = 0; i < 8; ++i) framed[i] = static_cast<char>((length >> (8 * i)) & 0xff);
  try_file(framed + std::string(bytes.substr(1)) + std::string(data[0], '\0'));
  return 0;
}
