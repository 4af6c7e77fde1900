// libFuzzer entry: any bytes as model.safetensors.index.json, in a directory of two sound shards.
// What is accepted names each tensor of both, and no file outside the directory.
#include <stdlib.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "src/base/error.h"
#include "tests/fuzz/memory_file.h"
#include "weights/checkpoint.h"

namespace {

using namespace winnow;
using fuzz::require;

/// A directory in memory with the shards a.safetensors and b.safetensors, one tensor of 4 bytes
/// each; it goes when the process does.
class ShardDir {
 public:
  ShardDir() {
    std::string name = "/dev/shm/winnow-fuzz-XXXXXX";
    require(mkdtemp(name.data()) != nullptr);
    path_ = name;
    for (const char* tensor : {"a", "b"}) {
      const std::string header =
          std::string("{\"") + tensor + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
      std::string bytes(8, '\0');
      bytes[0] = static_cast<char>(header.size());
      put(std::string(tensor) + ".safetensors", bytes + header + std::string(4, '\0'));
    }
  }
  ~ShardDir() { std::filesystem::remove_all(path_); }

  void put(const std::string& name, std::string_view bytes) const {
    std::ofstream(path_ / name, std::ios::binary | std::ios::trunc) << bytes;
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

void try_index(const ShardDir& dir, std::string_view text) {
  dir.put("model.safetensors.index.json", text);
  try {
    const Checkpoint checkpoint = open_checkpoint(dir.path());
    for (const File& file : checkpoint.files) require(file.path().parent_path() == dir.path());
    require(!checkpoint.tensors.empty() && checkpoint.tensors.size() == checkpoint.files.size());
  } catch (const Error& error) {
    require(error.code() == ExitCode::kModel);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const ShardDir kDir;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try_index(kDir, bytes);
  try_index(kDir, R"({"weight_map":{"a":"a.safetensors",)" + std::string(bytes) + "}}");
  return 0;
}
