// A byte-level BPE in two files, as GPT-2 brought it and Qwen2 still does.
//
//   vocab.json   {"!": 0, "\"": 1, ..}     pieces in the byte alphabet, and their ids
//   merges.txt   #version: 0.2             first line; may be absent
//                Ġ t                       a merge a line, the first first
#pragma once

#include <string_view>

#include "tokenizer/bpe_model.h"
#include "tokenizer/tokenizer_config.h"

namespace winnow {

/// A file's text, and its name in messages.
struct NamedText {
  std::string_view text;
  std::string_view name;
};

/// Reads and checks both files. `config` has the added tokens and the model's name
/// (tokenizer_class), on which the way of cutting words depends: Qwen2Tokenizer, or GPT2Tokenizer,
/// which is also meant where none is said. Fails with kModel for what is malformed and for other
/// names.
BpeModel parse_bpe_files(const NamedText& vocab, const NamedText& merges,
                         const TokenizerConfig& config);

}  // namespace winnow
