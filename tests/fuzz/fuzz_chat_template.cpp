// libFuzzer entry: any bytes as a model's chat template, and as a user's text in the frame that it
// asks for: nothing of the text is lost.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "src/chat/recognise.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace winnow;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Frame frame = recognise_template(bytes).value_or(make_frame("llama2"));
  const std::string text = spelled(first_turn(frame, std::nullopt, bytes), "", "");
  if (text.find(frame.trims ? strip(bytes) : bytes) == std::string::npos) __builtin_trap();
  return 0;
}
