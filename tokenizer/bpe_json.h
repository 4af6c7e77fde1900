// tokenizer.json, the one file of Hugging Face's tokenizers, where it describes a byte-level BPE.
//
//   model           {type: BPE, vocab: {piece: id}, merges: ["l r", ..] or [["l", "r"], ..],
//                    ignore_merges}
//   added_tokens    [{id, content, special, single_word, lstrip, rstrip, normalized}]
//   normalizer      null, NFC
//   pre_tokenizer   ByteLevel, and before it Split by a known pattern, and Digits
//   decoder         ByteLevel
//   post_processor  null, ByteLevel, TemplateProcessing: what it puts in front of a text is BOS
//
// Each of the last four may be a Sequence. What is behind the text in a template is not used: a
// prompt is to be continued.
#pragma once

#include <string_view>

#include "tokenizer/bpe_model.h"

namespace winnow {

/// Reads and checks the text of a file; `name` is its name in messages. Fails with kModel for what
/// is malformed, and for what is not supported, naming it.
BpeModel parse_bpe_json(std::string_view text, std::string_view name);

}  // namespace winnow
