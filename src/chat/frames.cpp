// The frames by name. Where vendors' templates differ by date or by turn, this is what is done:
//
//   llama3.1         the template's own date where no date is given: 26 Jul 2024, always
//   mistral-*        the template writes the system text into the last user's text, and so moves it
//                    at every turn; here it stays in the first one
//   mistral-v1       later templates begin with a space that sentencepiece puts there anyway: the
//                    tokens are the same
#include <array>

#include "src/base/error.h"
#include "src/chat/frame.h"

namespace winnow {
namespace {

FramePart text(std::string words) {
  return {FramePart::Kind::kText, std::move(words)};
}
FramePart control(std::string piece) {
  return {FramePart::Kind::kControl, std::move(piece)};
}
const FramePart kBos{FramePart::Kind::kBos};
const FramePart kEos{FramePart::Kind::kEos};

Frame llama2() {
  Frame frame;
  frame.system_in_user = true;
  frame.before_system = {text("<<SYS>>\n")};
  frame.after_system = {text("\n<</SYS>>\n\n")};
  frame.before_user = {kBos, text("[INST] ")};
  frame.after_user = {text(" [/INST]")};
  frame.end_of_reply = {kEos};
  frame.trims = true;
  return frame;
}

/// "<|start_header_id|>ROLE<|end_header_id|>\n\n"
FrameParts llama3_header(const std::string& role) {
  return {control("<|start_header_id|>"), text(role), control("<|end_header_id|>"), text("\n\n")};
}

Frame llama3() {
  const FrameParts assistant = llama3_header("assistant");
  Frame frame;
  frame.begin = {kBos};
  frame.before_system = llama3_header("system");
  frame.after_system = {control("<|eot_id|>")};
  frame.before_user = llama3_header("user");
  frame.after_user = {control("<|eot_id|>")};
  frame.after_user.insert(frame.after_user.end(), assistant.begin(), assistant.end());
  frame.end_of_reply = {control("<|eot_id|>")};
  frame.trims = true;
  return frame;
}

Frame llama3_1() {
  Frame frame = llama3();
  frame.default_system = "";
  frame.before_system.push_back(
      text("Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"));
  return frame;
}

Frame mistral(FramePart before, FramePart after) {
  Frame frame;
  frame.begin = {kBos};
  frame.system_in_user = true;
  frame.after_system = {text("\n\n")};
  frame.before_user = {std::move(before)};
  frame.after_user = {std::move(after)};
  frame.end_of_reply = {kEos};
  return frame;
}

Frame mistral_v1() {
  return mistral(text("[INST] "), text(" [/INST]"));
}

Frame mistral_v3() {
  Frame frame = mistral(control("[INST]"), control("[/INST]"));
  frame.before_user.push_back(text(" "));
  return frame;
}

Frame mistral_tekken() {
  return mistral(control("[INST]"), control("[/INST]"));
}

Frame chatml() {
  Frame frame;
  frame.before_system = {control("<|im_start|>"), text("system\n")};
  frame.after_system = {control("<|im_end|>"), text("\n")};
  frame.before_user = {control("<|im_start|>"), text("user\n")};
  frame.after_user = {control("<|im_end|>"), text("\n"), control("<|im_start|>"),
                      text("assistant\n")};
  frame.end_of_reply = {control("<|im_end|>"), text("\n")};
  return frame;
}

Frame qwen2_5() {
  Frame frame = chatml();
  frame.default_system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";
  return frame;
}

/// Text as it is, for models that know no turns.
Frame none() {
  Frame frame;
  frame.has_turns = false;
  return frame;
}

struct NamedFrame {
  const char* name;
  Frame (*make)();
};

constexpr std::array<NamedFrame, 9> kFrames = {{{"llama2", llama2},
                                                {"llama3", llama3},
                                                {"llama3.1", llama3_1},
                                                {"mistral-v1", mistral_v1},
                                                {"mistral-v3", mistral_v3},
                                                {"mistral-tekken", mistral_tekken},
                                                {"chatml", chatml},
                                                {"qwen2.5", qwen2_5},
                                                {"none", none}}};

}  // namespace

std::vector<std::string> frame_names() {
  std::vector<std::string> names;
  names.reserve(kFrames.size());
  for (const NamedFrame& frame : kFrames) names.emplace_back(frame.name);
  return names;
}

Frame make_frame(std::string_view name) {
  for (const NamedFrame& known : kFrames) {
    if (known.name != name) continue;
    Frame frame = known.make();
    frame.name = name;
    return frame;
  }
  fail(ExitCode::kInternal, "there is no chat frame ", quoted(name));
}

}  // namespace winnow
