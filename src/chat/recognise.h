// Which frame a model's chat template asks for: told by marks that only templates of its family
// hold. What is not recognised is not guessed.
//
//   frame            marks
//   llama2           [INST] and [/INST], <<SYS>>
//   mistral-v1       [INST] and [/INST], a space inside of both
//   mistral-v3       the same, a space after [INST] alone
//   mistral-tekken   the same, no space
//   llama3           <|start_header_id|>, <|end_header_id|>, <|eot_id|>
//   llama3.1         the same, and the header "Cutting Knowledge Date: December 2023"
//   chatml           <|im_start|> and <|im_end|>
//
// Marks of two families, or of none, are refused; so are parts that no frame here writes:
// [SYSTEM_PROMPT], and a reply that is opened by other words than the frame's.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "src/chat/frame.h"

namespace winnow {

/// The frame of a template; nothing where it is not recognised. For chatml: the system text that
/// the template writes by itself becomes the frame's default, BOS opens the text where the template
/// names it, and what the template writes at the start of a reply ("<think>\n") joins the frame.
std::optional<Frame> recognise_template(std::string_view chat_template);

/// A template and the file that it comes from.
struct ChatTemplate {
  std::string text;
  std::string file;
};

/// The template of a model directory: chat_template.jinja, else `chat_template` of
/// tokenizer_config.json (of a list the one named "default"), else that of chat_template.json.
/// Fails with kModel where that is malformed or longer than 1 MiB.
std::optional<ChatTemplate> read_chat_template(const std::filesystem::path& dir);

/// The frame for the model in `dir`: the one called `name`, or where that is empty the one that its
/// template asks for. Fails with kModel, naming --chat-template, where there is no template or it
/// is not recognised. `why` is set to words for the user.
Frame choose_frame(const std::filesystem::path& dir, const std::string& name, std::string& why);

}  // namespace winnow
