// Writing safetensors files: well-formed ones from tensors, and others from any header at all.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/dtype.h"
#include "tests/support/temp_dir.h"

namespace winnow::test {

/// Rounded to the nearest, ties to even. `value` is finite and within the type's range.
inline BF16 to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return {static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

inline F16 to_f16(float value) {
  const double magnitude = std::fabs(static_cast<double>(value));
  const int exponent = magnitude < 0x1p-14 ? -14 : std::ilogb(magnitude);
  // Units of the last place; the carry into the next power of two comes out right by itself.
  const auto units = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 10 - exponent)));
  const int sign = std::signbit(value) ? 0x8000 : 0;
  return {static_cast<uint16_t>(sign + ((exponent + 14) << 10) + units)};
}

struct TestTensor {
  std::string name;
  DType type = DType::kF32;
  std::vector<uint64_t> shape;
  std::string bytes;
};

/// `values` stored as `type`.
inline std::string encode(DType type, const std::vector<float>& values) {
  std::string bytes;
  const auto append = [&bytes](const auto& stored) {
    char raw[sizeof(stored)];
    std::memcpy(raw, &stored, sizeof(stored));
    bytes.append(raw, sizeof(stored));
  };
  for (const float value : values) {
    switch (type) {
      case DType::kF32: append(value); break;
      case DType::kF16: append(to_f16(value)); break;
      case DType::kBF16: append(to_bf16(value)); break;
    }
  }
  return bytes;
}

/// The values that `tensor` really holds, after rounding.
inline std::vector<float> decode(const TestTensor& tensor) {
  std::vector<float> values;
  with_dtype(tensor.type, [&]<class T>(const T*) {
    for (size_t at = 0; at < tensor.bytes.size(); at += sizeof(T)) {
      T stored;
      std::memcpy(&stored, &tensor.bytes[at], sizeof(T));
      values.push_back(to_float(stored));
    }
  });
  return values;
}

/// The bytes of a file: the length of `header`, `header`, `data`.
inline std::string safetensors_bytes(std::string_view header, std::string_view data) {
  const uint64_t length = header.size();
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  bytes += header;
  bytes += data;
  return bytes;
}

inline std::string shape_json(const std::vector<uint64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ",") + std::to_string(shape[i]);
  return text + "]";
}

inline void write_safetensors(const std::filesystem::path& path,
                              const std::vector<TestTensor>& tensors) {
  std::string header = "{\"__metadata__\":{\"format\":\"pt\"}";
  std::string data;
  for (const TestTensor& tensor : tensors) {
    header += ",\"" + tensor.name + "\":{\"dtype\":\"" + std::string(dtype_name(tensor.type)) +
              "\",\"shape\":" + shape_json(tensor.shape) + ",\"data_offsets\":[" +
              std::to_string(data.size()) + "," +
              std::to_string(data.size() + tensor.bytes.size()) + "]}";
    data += tensor.bytes;
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');  // the data is aligned to 8
  write_file(path, safetensors_bytes(header, data));
}

}  // namespace winnow::test
