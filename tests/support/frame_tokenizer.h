// The byte tokenizer with the control tokens that chat frames write.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/byte_tokenizer.h"

namespace winnow::test {

class FrameTokenizer : public ByteTokenizer {
 public:
  static constexpr int32_t kFirstControl = 258;
  static constexpr int32_t kVocabSize = 265;
  static inline const std::vector<std::string> kControls = {"<|start_header_id|>",
                                                            "<|end_header_id|>",
                                                            "<|eot_id|>",
                                                            "<|im_start|>",
                                                            "<|im_end|>",
                                                            "[INST]",
                                                            "[/INST]"};

  int32_t vocab_size() const override { return kVocabSize; }

  std::string piece(int32_t id) const override {
    return id < kFirstControl ? ByteTokenizer::piece(id) : kControls.at(control_index(id));
  }

  std::string decode_piece(int32_t id, bool at_start) const override {
    return id < kFirstControl ? ByteTokenizer::decode_piece(id, at_start) : "";
  }

  std::optional<int32_t> control_id(std::string_view piece) const override {
    for (size_t i = 0; i < kControls.size(); ++i) {
      if (kControls[i] == piece) return kFirstControl + static_cast<int32_t>(i);
    }
    return ByteTokenizer::control_id(piece);
  }

 private:
  static size_t control_index(int32_t id) { return static_cast<size_t>(id - kFirstControl); }
};

}  // namespace winnow::test
