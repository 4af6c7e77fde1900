// The tensors of a model directory: one model.safetensors, or the shards of an index.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "src/base/file.h"
#include "weights/safetensors.h"

namespace winnow {

/// Every tensor of a directory by name, with the file that holds it.
struct Checkpoint {
  struct Entry {
    size_t file = 0;  // index into files
    TensorInfo info;
  };

  std::vector<File> files;
  std::map<std::string, Entry> tensors;
  std::vector<std::string> notes;  // for the user: what was chosen, what is odd but harmless
};

/// Opens DIR/model.safetensors, or else the shards that DIR/model.safetensors.index.json lists, and
/// checks every header. Shards are bare file names. Fails with kModel, or kIo for unreadable paths.
Checkpoint open_checkpoint(const std::filesystem::path& dir);

}  // namespace winnow
