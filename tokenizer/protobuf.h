// The fields of a protocol buffer message, one after the other, from bytes that nobody vouches for.
//
//   message = field...      field = key value      key = number << 3 | kind, as a varint
//   varint  = 7 bits a byte, lowest first; the top bit says that another byte follows
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace winnow {

/// How a value is written. Groups (3 and 4), which nest without a length, are refused.
enum class ProtoKind : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct ProtoField {
  uint32_t number = 0;
  ProtoKind kind = ProtoKind::kVarint;
  uint64_t value = 0;                // kVarint, kFixed64, kFixed32
  std::span<const std::byte> bytes;  // kBytes: text, or a message of its own
};

/// Reads one message; never looks past its end and allocates nothing.
class ProtoReader {
 public:
  /// `name` is the file's name in messages.
  ProtoReader(std::span<const std::byte> message, std::string_view name)
      : rest_(message), size_(message.size()), name_(name) {}

  /// The next field; nothing at the end. Fails with kModel for what is no field.
  std::optional<ProtoField> next();

 private:
  uint64_t varint();
  uint64_t fixed(size_t size);
  std::span<const std::byte> take(uint64_t size);
  [[noreturn]] void malformed(std::string_view why) const;

  std::span<const std::byte> rest_;
  size_t size_;
  std::string_view name_;
};

/// Writes one message.
class ProtoWriter {
 public:
  void varint(uint32_t number, uint64_t value);
  void fixed32(uint32_t number, uint32_t value);
  void bytes(uint32_t number, std::string_view value);

  const std::string& message() const { return message_; }

 private:
  void put(uint64_t value);
  void put_key(uint32_t number, ProtoKind kind);

  std::string message_;
};

}  // namespace winnow
