#include "weights/safetensors.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string_view>
#include <tuple>
#include <utility>

#include "src/base/checked.h"
#include "src/base/error.h"
#include "src/base/json.h"

namespace winnow {
namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxTensors = 100'000;
constexpr size_t kMaxNameBytes = 1'000'000;
constexpr size_t kMaxMetadataBytes = 1'000'000;
constexpr size_t kMaxDimensions = 8;
constexpr uint64_t kDimensionLimit = uint64_t{1} << 48;

template <class... Parts>
[[noreturn]] void reject(const File& file, const Parts&... parts) {
  fail(ExitCode::kModel, file.path().string(), ": ", parts...);
}

/// Rejects a file that does not start like safetensors: as what it is, where that can be told.
template <class... Parts>
[[noreturn]] void reject_start(const File& file, const Parts&... parts) {
  std::array<char, 64> first = {};
  const size_t n = std::min<uint64_t>(first.size(), file.size());
  file.read_at(0, std::as_writable_bytes(std::span(first).first(n)));
  const std::string_view meaning = sniff_wrong_format(std::string_view(first.data(), n));
  if (!meaning.empty()) reject(file, meaning);
  reject(file, parts...);
}

/// N, checked: the header lies within the file.
uint64_t read_header_length(const File& file) {
  if (file.size() == 0) reject(file, "is empty");
  if (file.size() < kLengthBytes) {
    reject_start(file, "has ", file.size(), " bytes, shorter than the 8-byte header length");
  }
  uint64_t length = 0;
  file.read_at(0, std::as_writable_bytes(std::span(&length, 1)));
  if (length > kMaxHeaderBytes) {
    reject_start(file, "header length ", length, " is over the limit of ", kMaxHeaderBytes,
                 " bytes; is this a safetensors file?");
  }
  if (length > file.size() - kLengthBytes) {
    reject_start(file, "header length ", length, " reaches past the end of the file (", file.size(),
                 " bytes); is it cut off?");
  }
  if (length < 2) reject(file, "header length ", length, " is too short for a header");
  return length;
}

/// The header's JSON text. Space may stand before the brace, nothing else.
std::string read_header_text(const File& file, uint64_t length) {
  std::string text(static_cast<size_t>(length), '\0');
  file.read_at(kLengthBytes, std::as_writable_bytes(std::span<char>(text)));
  const size_t start = text.find_first_not_of(" \t\r\n");
  if (start == std::string::npos || text[start] != '{') {
    reject_start(file, "header does not start with '{'");
  }
  return text;
}

void check_metadata(const File& file, const Json& metadata) {
  if (!metadata.is_object()) reject(file, "__metadata__ is not an object");
  size_t total = 0;
  for (const auto& [key, value] : metadata.items()) {
    if (!value.is_string()) reject(file, "__metadata__ value of ", quoted(key), " is no string");
    total += key.size() + value.get_ref<const std::string&>().size();
  }
  if (total > kMaxMetadataBytes) {
    reject(file, "__metadata__ has ", total, " bytes, over the limit of ", kMaxMetadataBytes);
  }
}

/// Checks the members of one tensor's entry, field by field.
class EntryReader {
 public:
  EntryReader(const File& file, const std::string& name, const Json& entry)
      : file_(file), name_(name), entry_(entry) {}

  /// `data_start`: where offset 0 lies in the file.
  TensorInfo read(uint64_t data_start) const {
    if (name_.size() > kMaxNameBytes) {
      reject(file_, "tensor name ", quoted(name_), " is longer than ", kMaxNameBytes, " bytes");
    }
    check_members();
    TensorInfo info;
    info.name = name_;
    info.type = read_type();
    info.shape = read_shape();
    const auto [begin, end] = read_offsets(file_.size() - data_start);
    info.offset = data_start + begin;
    info.bytes = end - begin;
    const uint64_t needed = bytes_of_shape(info);
    if (info.bytes != needed) {
      reject(file_, "tensor ", quoted(name_), ": data_offsets span ", info.bytes,
             " bytes, but shape and dtype need ", needed);
    }
    return info;
  }

 private:
  void check_members() const {
    if (!entry_.is_object()) reject(file_, "entry of tensor ", quoted(name_), " is not an object");
    for (const char* field : {"dtype", "shape", "data_offsets"}) {
      if (!entry_.contains(field)) reject(file_, "tensor ", quoted(name_), " has no ", field);
    }
    if (entry_.size() == 3) return;
    for (const auto& [field, value] : entry_.items()) {
      if (field != "dtype" && field != "shape" && field != "data_offsets") {
        reject(file_, "tensor ", quoted(name_), " has an unknown field ", quoted(field));
      }
    }
  }

  DType read_type() const {
    const Json& value = entry_["dtype"];
    if (!value.is_string()) reject(file_, "dtype of tensor ", quoted(name_), " is no string");
    const std::string& text = value.get_ref<const std::string&>();
    for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
      if (text == dtype_name(type)) return type;
    }
    reject(file_, "unsupported dtype ", quoted(text), " in tensor ", quoted(name_),
           " (F32, F16 and BF16 are supported)");
  }

  std::vector<uint64_t> read_shape() const {
    const Json& value = entry_["shape"];
    if (!value.is_array()) reject(file_, "shape of tensor ", quoted(name_), " is no list");
    if (value.size() > kMaxDimensions) {
      reject(file_, "shape of tensor ", quoted(name_), " has ", value.size(),
             " dimensions; at most ", kMaxDimensions, " are allowed");
    }
    std::vector<uint64_t> shape;
    for (const Json& dimension : value) {
      if (!dimension.is_number_unsigned() || dimension.get<uint64_t>() >= kDimensionLimit) {
        reject(file_, "shape of tensor ", quoted(name_),
               " holds something else than an integer from 0 to 2^48 - 1");
      }
      shape.push_back(dimension.get<uint64_t>());
    }
    return shape;
  }

  std::pair<uint64_t, uint64_t> read_offsets(uint64_t data_bytes) const {
    const Json& value = entry_["data_offsets"];
    if (!value.is_array() || value.size() != 2 || !value[0].is_number_unsigned() ||
        !value[1].is_number_unsigned()) {
      reject(file_, "data_offsets of tensor ", quoted(name_), " are not two integers from 0 on");
    }
    const auto begin = value[0].get<uint64_t>();
    const auto end = value[1].get<uint64_t>();
    if (begin > end) {
      reject(file_, "data_offsets of tensor ", quoted(name_), " run backwards: ", begin, " to ",
             end);
    }
    if (end > data_bytes) {
      reject(file_, "data_offsets of tensor ", quoted(name_), " end at ", end,
             ", past the end of the data (", data_bytes, " bytes); is the file cut off?");
    }
    return {begin, end};
  }

  uint64_t bytes_of_shape(const TensorInfo& info) const {
    std::optional<uint64_t> bytes = dtype_size(info.type);
    for (const uint64_t dimension : info.shape) {
      bytes = checked_mul(*bytes, dimension);
      if (!bytes) reject(file_, "shape of tensor ", quoted(name_), " overflows 64 bits");
    }
    return *bytes;
  }

  const File& file_;
  const std::string& name_;
  const Json& entry_;
};

/// The tensors, in the order of their offsets, cover the data without holes or overlaps.
void check_layout(const File& file, const std::vector<TensorInfo>& tensors, uint64_t data_start) {
  uint64_t expected = data_start;
  for (const TensorInfo& info : tensors) {
    if (info.offset != expected) {
      reject(file, "tensor ", quoted(info.name), " starts at byte ", info.offset,
             info.offset < expected ? ", inside the tensor before it, which ends at "
                                    : ", leaving a hole after byte ",
             expected);
    }
    expected = info.offset + info.bytes;
  }
  if (expected != file.size()) {
    reject(file, file.size() - expected, " bytes follow after the last tensor");
  }
}

}  // namespace

std::vector<TensorInfo> read_safetensors_header(const File& file) {
  const uint64_t length = read_header_length(file);
  const uint64_t data_start = kLengthBytes + length;
  const Json header = parse_json(read_header_text(file, length), file.path().string() + ": header");
  if (header.size() > kMaxTensors + 1) {
    reject(file, "header lists ", header.size(), " tensors; at most ", kMaxTensors, " are allowed");
  }
  std::vector<TensorInfo> tensors;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      check_metadata(file, entry);
    } else {
      tensors.push_back(EntryReader(file, name, entry).read(data_start));
    }
  }
  // An empty tensor shares its offset with the one that follows.
  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::tie(a.offset, a.bytes) < std::tie(b.offset, b.bytes);
  });
  check_layout(file, tensors, data_start);
  return tensors;
}

}  // namespace winnow
