// Reads NumPy's .npy files, for tests: float32 and int64 arrays in C order.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace winnow::test {

template <class T>
struct NpyArray {
  std::vector<int64_t> shape;
  std::vector<T> values;  // product(shape), the last index running fastest
};

namespace npy {

inline void require(bool condition, const std::filesystem::path& path, const char* what) {
  if (!condition) throw std::runtime_error(path.string() + ": " + what);
}

/// What follows `key` in a header like "{'descr': '<f4', 'shape': (2, 3), }".
inline std::string after_key(const std::string& header, const std::string& key) {
  const size_t at = header.find("'" + key + "':");
  if (at == std::string::npos) return {};
  return header.substr(header.find_first_not_of(' ', at + key.size() + 3));
}

/// The numbers of "(2, 3), ...", and their product.
inline std::vector<int64_t> parse_shape(const std::string& text, size_t& product,
                                        const std::filesystem::path& path) {
  const size_t end = text.find(')');
  require(text.starts_with('(') && end != std::string::npos, path, "no shape");
  std::vector<int64_t> shape;
  product = 1;
  for (size_t at = 1; at < end;) {
    if (text[at] == ',' || text[at] == ' ') {
      ++at;
      continue;
    }
    size_t digits = 0;
    const long long n = std::stoll(text.substr(at, end - at), &digits);
    require(n >= 0 && n < (1 << 28), path, "a length out of range");
    require(!__builtin_mul_overflow(product, static_cast<size_t>(n), &product), path, "too large");
    shape.push_back(n);
    at += digits;
  }
  return shape;
}

}  // namespace npy

/// Throws std::runtime_error, naming the file, for anything else than a whole array of T.
template <class T>
NpyArray<T> read_npy(const std::filesystem::path& path) {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, int64_t>);
  std::ifstream in(path, std::ios::binary);
  npy::require(in.good(), path, "cannot open");
  const std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};

  constexpr size_t kFixedBytes = 10;  // magic, version, length of the header
  npy::require(bytes.starts_with("\x93NUMPY\x01") && bytes.size() >= kFixedBytes, path,
               "no .npy 1");
  uint16_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data() + 8, sizeof(header_bytes));
  const size_t data_at = kFixedBytes + header_bytes;
  npy::require(bytes.size() >= data_at, path, "the header is cut off");

  const std::string header = bytes.substr(kFixedBytes, header_bytes);
  const char* const type = std::is_same_v<T, float> ? "'<f4'" : "'<i8'";
  npy::require(npy::after_key(header, "descr").starts_with(type), path, "another type");
  npy::require(npy::after_key(header, "fortran_order").starts_with("False"), path, "another order");

  NpyArray<T> array;
  size_t n_values = 0;
  array.shape = npy::parse_shape(npy::after_key(header, "shape"), n_values, path);
  npy::require((bytes.size() - data_at) / sizeof(T) == n_values, path,
               "another size than its shape");
  npy::require((bytes.size() - data_at) % sizeof(T) == 0, path, "half a value at the end");
  array.values.resize(n_values);
  if (n_values > 0) std::memcpy(array.values.data(), bytes.data() + data_at, n_values * sizeof(T));
  return array;
}

}  // namespace winnow::test
