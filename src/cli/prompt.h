// From what the user gave to the tokens of a prompt.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/cli/console.h"
#include "src/cli/options.h"
#include "tokenizer/tokenizer.h"

namespace winnow {

/// What becomes of a text before it is a prompt.
struct TextRules {
  bool strip_mark = true;    // a UTF-8 byte order mark at the front goes, with a note
  bool strict_utf8 = false;  // invalid UTF-8 fails with kIo instead of becoming U+FFFD
  std::string name = {};     // in messages; empty: that of its source
};

/// The text of `source`, valid UTF-8. Fails with kIo where it cannot be read or is UTF-16, with
/// kPrompt where it is over 64 MiB, with kUsage where it should come from stdin and that is a
/// terminal.
std::string read_text(const TextSource& source, const TextRules& rules, const Console& console);

/// Puts BOS in front of `tokens` where `mode` and the model's custom want it. Fails with kUsage
/// where it is demanded and there is none.
void prepend_bos(const Tokenizer& tokenizer, BosMode mode, std::vector<int32_t>& tokens);

/// The tokens of `text`, with BOS in front by `mode` and the model's custom; an empty text is BOS
/// alone wherever the model has one and `mode` allows it. Fails with kUsage where nothing is left.
std::vector<int32_t> encode_prompt(const Tokenizer& tokenizer, const std::string& text,
                                   BosMode mode);

}  // namespace winnow
