#include "weights/fingerprint.h"

#include <algorithm>
#include <array>
#include <span>
#include <string>

#include "src/base/dtype.h"
#include "src/base/fnv.h"
#include "src/base/json.h"

namespace winnow {
namespace {

constexpr uint64_t kMaxConfigBytes = 1'000'000;
constexpr uint64_t kBlocks = 16;
constexpr uint64_t kBlockBytes = 256;

/// Keys of config.json that say nothing about the network. Any key that is not known counts.
constexpr std::array kSilentKeys = {"_name_or_path", "dtype", "torch_dtype", "transformers_version",
                                    "use_cache"};

void add_bytes(Fnv64& hash, const File& file, uint64_t offset, uint64_t bytes) {
  std::array<std::byte, kBlocks * kBlockBytes> block{};
  const std::span<std::byte> part = std::span(block).first(static_cast<size_t>(bytes));
  file.read_at(offset, part);
  hash.add(part);
}

/// Block i begins at i/15 of the way from the first byte to the last block's first byte.
void add_tensor_bytes(Fnv64& hash, const File& file, const TensorInfo& tensor) {
  if (tensor.bytes <= kBlocks * kBlockBytes) {
    return add_bytes(hash, file, tensor.offset, tensor.bytes);
  }
  const uint64_t way = tensor.bytes - kBlockBytes;
  for (uint64_t i = 0; i < kBlocks; ++i) {
    const uint64_t step = way / (kBlocks - 1) * i + way % (kBlocks - 1) * i / (kBlocks - 1);
    add_bytes(hash, file, tensor.offset + step, kBlockBytes);
  }
}

}  // namespace

uint64_t config_fingerprint(const std::filesystem::path& dir) {
  const std::filesystem::path file = dir / "config.json";
  return config_fingerprint(read_model_file(file, kMaxConfigBytes), file.string());
}

uint64_t config_fingerprint(std::string_view text, std::string_view name) {
  Json json = parse_json(text, name);
  if (json.is_object()) {
    for (const char* const key : kSilentKeys) json.erase(key);
  }
  Fnv64 hash;
  hash.add(json.dump());  // objects are kept in order of their keys
  return hash.value();
}

uint64_t weights_fingerprint(const Checkpoint& checkpoint) {
  Fnv64 hash;
  for (const auto& [name, entry] : checkpoint.tensors) {
    hash.add(uint64_t{name.size()});
    hash.add(name);
    hash.add(dtype_name(entry.info.type));
    hash.add(uint64_t{entry.info.shape.size()});
    for (const uint64_t n : entry.info.shape) hash.add(n);
    add_tensor_bytes(hash, checkpoint.files[entry.file], entry.info);
  }
  return hash.value();
}

}  // namespace winnow
