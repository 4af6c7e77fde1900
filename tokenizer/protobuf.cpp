#include "tokenizer/protobuf.h"

#include "src/base/error.h"

namespace winnow {

std::optional<ProtoField> ProtoReader::next() {
  if (rest_.empty()) return std::nullopt;
  const uint64_t key = varint();
  if (key > UINT32_MAX || key >> 3 == 0) malformed("a field number out of range");

  ProtoField field;
  field.number = static_cast<uint32_t>(key >> 3);
  field.kind = static_cast<ProtoKind>(key & 7);
  switch (field.kind) {
    case ProtoKind::kVarint: field.value = varint(); return field;
    case ProtoKind::kFixed64: field.value = fixed(8); return field;
    case ProtoKind::kFixed32: field.value = fixed(4); return field;
    case ProtoKind::kBytes: field.bytes = take(varint()); return field;
  }
  malformed("an unknown kind of field");
}

uint64_t ProtoReader::varint() {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    const auto byte = std::to_integer<uint64_t>(take(1)[0]);
    if (shift == 63 && byte > 1) break;  // of the tenth byte one bit is left
    value |= (byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  malformed("a number longer than 64 bits");
}

uint64_t ProtoReader::fixed(size_t size) {
  const std::span<const std::byte> bytes = take(size);
  uint64_t value = 0;
  for (size_t i = 0; i < size; ++i) value |= std::to_integer<uint64_t>(bytes[i]) << (8 * i);
  return value;
}

std::span<const std::byte> ProtoReader::take(uint64_t size) {
  if (size > rest_.size()) malformed("a field that reaches past the end");
  const auto length = static_cast<size_t>(size);
  const std::span<const std::byte> taken = rest_.first(length);
  rest_ = rest_.subspan(length);
  return taken;
}

void ProtoReader::malformed(std::string_view why) const {
  fail(ExitCode::kModel, name_, ": is no sentencepiece file: ", why, ", around byte ",
       size_ - rest_.size(), " of a message of ", size_);
}

void ProtoWriter::varint(uint32_t number, uint64_t value) {
  put_key(number, ProtoKind::kVarint);
  put(value);
}

void ProtoWriter::fixed32(uint32_t number, uint32_t value) {
  put_key(number, ProtoKind::kFixed32);
  for (unsigned shift = 0; shift < 32; shift += 8) {
    message_.push_back(static_cast<char>(value >> shift & 0xFF));
  }
}

void ProtoWriter::bytes(uint32_t number, std::string_view value) {
  put_key(number, ProtoKind::kBytes);
  put(value.size());
  message_.append(value);
}

void ProtoWriter::put(uint64_t value) {
  for (; value >= 0x80; value >>= 7) message_.push_back(static_cast<char>(value | 0x80));
  message_.push_back(static_cast<char>(value));
}

void ProtoWriter::put_key(uint32_t number, ProtoKind kind) {
  put(uint64_t{number} << 3 | static_cast<uint64_t>(kind));
}

}  // namespace winnow
