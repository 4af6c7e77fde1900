// A conversation as a file.
#pragma once

#include <filesystem>
#include <span>

#include "src/chat/session.h"

namespace winnow {

/// Writes `messages` to `file`: as JSON, [{"role": .., "content": ..}, ..], where its name ends in
/// ".json", otherwise as text with a heading for each. Fails with kIo.
void save_transcript(const std::filesystem::path& file, std::span<const ChatMessage> messages);

}  // namespace winnow
