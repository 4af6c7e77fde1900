// Chat frames: how a model family writes a conversation. A template of the hub is a program from a
// stranger's file; what the common ones do is said here as data, and no template is ever run.
//
//   begin | before_system SYSTEM after_system | before_user USER after_user   the model replies
//                      end_of_reply           | before_user USER after_user   the model replies ...
//
// What stands between two replies depends on nothing but the user's text: the tokens of earlier
// turns, and their K/V rows, stay what they are.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace winnow {

/// A piece of a framed text. Only kControl, kBos and kEos become control tokens; text never does,
/// whatever it spells.
struct FramePart {
  enum class Kind { kText, kControl, kBos, kEos };
  Kind kind = Kind::kText;
  std::string text = {};  // the text, or the control token as the vocabulary spells it
};
using FrameParts = std::vector<FramePart>;

struct Frame {
  std::string name;  // of --chat-template
  FrameParts begin;
  std::optional<std::string> default_system;  // where the user gives no system text
  FrameParts before_system;
  FrameParts after_system;
  bool system_in_user = false;  // the system text stands in the first user's text, not before it
  FrameParts before_user;
  FrameParts after_user;    // up to where the reply begins
  FrameParts end_of_reply;  // starts with the control token that ends the model's turn
  bool trims = false;       // white space around the system's and the user's text is left out
  bool has_turns = true;  // if not: text alone, no place for a system's, BOS by the model's custom
};

/// The frames, in the order in which they are told to the user: see frames.cpp.
std::vector<std::string> frame_names();

/// The frame of that name. Fails with kInternal where there is none.
Frame make_frame(std::string_view name);

/// What the user's first text adds, the system's before it, where there is one.
FrameParts first_turn(const Frame& frame, const std::optional<std::string>& system,
                      std::string_view user);

/// What a later text of the user adds after the reply before it and that one's end.
FrameParts later_turn(const Frame& frame, std::string_view user);

/// `parts` as a template writes them.
std::string spelled(const FrameParts& parts, std::string_view bos, std::string_view eos);

/// `text` without white space around it, as Python's str.strip sees white space: that of Unicode,
/// and U+001C..U+001F.
std::string_view strip(std::string_view text);

/// A frame in the tokens of a model.
class FrameTokens {
 public:
  /// Fails with kModel where the tokenizer lacks a control token of the frame. `tokenizer` must
  /// outlive it.
  FrameTokens(const Tokenizer& tokenizer, Frame frame);

  const Frame& frame() const { return frame_; }

  std::vector<int32_t> first_turn(const std::optional<std::string>& system,
                                  std::string_view user) const;
  std::vector<int32_t> later_turn(std::string_view user) const;
  std::vector<int32_t> end_of_reply() const { return encode(frame_.end_of_reply); }

  /// The token that ends the model's turn; none where the frame has none.
  std::optional<int32_t> stop_id() const;

  /// The ids of `parts`. Texts that follow each other are encoded as one.
  std::vector<int32_t> encode(const FrameParts& parts) const;

 private:
  void encode_text(std::string_view text, std::vector<int32_t>& ids) const;
  int32_t control(const FramePart& part) const;

  const Tokenizer& tokenizer_;
  Frame frame_;
  bool adds_space_;  // encode puts a space in front of a text, as sentencepiece does
};

}  // namespace winnow
