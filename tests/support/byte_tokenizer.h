// A tokenizer whose tokens can be counted by eye: one id a byte.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace winnow::test {

/// 0 is BOS, 1 is EOS, and byte b is 2 + b. Any bytes go there and back.
class ByteTokenizer : public Tokenizer {
 public:
  static constexpr int32_t kBos = 0;
  static constexpr int32_t kEos = 1;

  int32_t vocab_size() const override { return kFirstByte + 256; }

  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(kFirstByte + static_cast<unsigned char>(c));
    return ids;
  }

  std::string piece(int32_t id) const override {
    if (id < kFirstByte) return id == kBos ? "<s>" : "</s>";
    return decode_piece(id, false);
  }

  std::string decode_piece(int32_t id, bool /*at_start*/) const override {
    return id < kFirstByte ? "" : std::string(1, static_cast<char>(id - kFirstByte));
  }

  std::optional<int32_t> bos() const override { return kBos; }
  std::optional<int32_t> eos() const override { return kEos; }
  bool adds_bos() const override { return true; }

  std::optional<int32_t> control_id(std::string_view piece) const override {
    if (piece == "<s>") return kBos;
    return piece == "</s>" ? std::optional(kEos) : std::nullopt;
  }

 private:
  static constexpr int32_t kFirstByte = 2;
};

}  // namespace winnow::test
