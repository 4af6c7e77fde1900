#include "src/chat/transcript.h"

#include <nlohmann/json.hpp>

#include "src/cli/output.h"

namespace winnow {

void save_transcript(const std::filesystem::path& file, std::span<const ChatMessage> messages) {
  Output out(file);
  if (file.extension() == ".json") {
    nlohmann::ordered_json json = nlohmann::ordered_json::array();
    for (const ChatMessage& message : messages) {
      json.push_back({{"role", message.role}, {"content", message.text}});
    }
    return out.write(json.dump(2) + "\n");
  }
  for (const ChatMessage& message : messages) {
    out.write("## " + message.role + "\n\n" + message.text + "\n\n");
  }
}

}  // namespace winnow
