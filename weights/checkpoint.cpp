#include "weights/checkpoint.h"

#include <string_view>
#include <utility>

#include "src/base/error.h"
#include "src/base/json.h"

namespace winnow {
namespace {

constexpr const char* kSingleName = "model.safetensors";
constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr uint64_t kMaxIndexBytes = uint64_t{64} << 20;

/// Tensor name -> shard name, as the index says.
using WeightMap = std::map<std::string, std::string>;

/// Opens `path` and adds its tensors. Fails where a tensor is there already.
void add_file(Checkpoint& checkpoint, const std::filesystem::path& path) {
  const size_t index = checkpoint.files.size();
  checkpoint.files.push_back(File::open(path));
  for (TensorInfo& info : read_safetensors_header(checkpoint.files[index])) {
    std::string name = info.name;
    const auto [at, is_new] =
        checkpoint.tensors.try_emplace(std::move(name), Checkpoint::Entry{index, std::move(info)});
    if (!is_new) {
      fail(ExitCode::kModel, path.string(), ": tensor ", quoted(at->first), " is also in ",
           checkpoint.files[at->second.file].path().filename().string());
    }
  }
}

/// A bare file name that ends in .safetensors, so that no index leads out of its directory.
bool is_shard_name(std::string_view name) {
  constexpr std::string_view kSuffix = ".safetensors";
  constexpr std::string_view kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  return name.size() > kSuffix.size() && name.ends_with(kSuffix) && name.front() != '.' &&
         name.find_first_not_of(kAllowed) == std::string_view::npos;
}

WeightMap read_weight_map(const Json& index, const std::string& index_path) {
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    fail(ExitCode::kModel, index_path, ": has no object weight_map");
  }
  WeightMap weight_map;
  for (const auto& [tensor, shard] : index["weight_map"].items()) {
    if (!shard.is_string()) {
      fail(ExitCode::kModel, index_path, ": shard of tensor ", quoted(tensor), " is no string");
    }
    const std::string& name = shard.get_ref<const std::string&>();
    if (!is_shard_name(name)) {
      fail(ExitCode::kModel, index_path, ": shard ", quoted(name), " of tensor ", quoted(tensor),
           " is not a bare file name like model-00001-of-00002.safetensors");
    }
    weight_map.emplace(tensor, name);
  }
  if (weight_map.empty()) fail(ExitCode::kModel, index_path, ": weight_map is empty");
  return weight_map;
}

/// Each tensor is where the map says, and the map knows each tensor.
void check_weight_map(const Checkpoint& checkpoint, const WeightMap& weight_map,
                      const std::string& index_path) {
  for (const auto& [tensor, entry] : checkpoint.tensors) {
    const std::string found = checkpoint.files[entry.file].path().filename().string();
    const auto listed = weight_map.find(tensor);
    if (listed == weight_map.end()) {
      fail(ExitCode::kModel, index_path, ": tensor ", quoted(tensor), " of ", found,
           " is not in weight_map");
    }
    if (listed->second != found) {
      fail(ExitCode::kModel, index_path, ": tensor ", quoted(tensor), " should be in ",
           listed->second, " but is in ", found);
    }
  }
  for (const auto& [tensor, shard] : weight_map) {
    if (!checkpoint.tensors.contains(tensor)) {
      fail(ExitCode::kModel, index_path, ": tensor ", quoted(tensor), " is not in its shard ",
           shard);
    }
  }
}

/// metadata.total_size decides nothing; where it is wrong, the user hears of it.
void note_total_size(Checkpoint& checkpoint, const Json& index) {
  const Json::json_pointer key("/metadata/total_size");
  if (!index.contains(key) || !index[key].is_number()) return;
  uint64_t total = 0;
  for (const auto& [tensor, entry] : checkpoint.tensors) total += entry.info.bytes;
  if (index[key].get<double>() == static_cast<double>(total)) return;
  checkpoint.notes.push_back(std::string(kIndexName) + ": total_size is " + index[key].dump() +
                             ", but the tensors have " + std::to_string(total) + " bytes");
}

Checkpoint open_shards(const std::filesystem::path& dir) {
  const std::filesystem::path index_path = dir / kIndexName;
  const Json index = parse_json(read_model_file(index_path, kMaxIndexBytes), index_path.string());
  const WeightMap weight_map = read_weight_map(index, index_path.string());

  std::map<std::string, std::string> shards;  // shard name -> a tensor that is said to be in it
  for (const auto& [tensor, shard] : weight_map) shards.emplace(shard, tensor);

  Checkpoint checkpoint;
  for (const auto& [shard, tensor] : shards) {
    if (!path_exists(dir / shard)) {
      fail(ExitCode::kModel, (dir / shard).string(), ": missing; ", kIndexName,
           " lists it for tensor ", quoted(tensor));
    }
    add_file(checkpoint, dir / shard);
  }
  check_weight_map(checkpoint, weight_map, index_path.string());
  note_total_size(checkpoint, index);
  return checkpoint;
}

}  // namespace

Checkpoint open_checkpoint(const std::filesystem::path& dir) {
  require_directory(dir);
  if (path_exists(dir / kSingleName)) {
    Checkpoint checkpoint;
    add_file(checkpoint, dir / kSingleName);
    if (path_exists(dir / kIndexName)) {
      checkpoint.notes.push_back(std::string(kSingleName) + " is used; " + kIndexName +
                                 " is there too and is not read");
    }
    return checkpoint;
  }
  if (path_exists(dir / kIndexName)) return open_shards(dir);
  for (const char* pickle : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (path_exists(dir / pickle)) {
      fail(ExitCode::kModel, dir.string(), ": has only ", pickle,
           ", a pickle, which is not read; convert it to ", kSingleName);
    }
  }
  fail(ExitCode::kModel, dir.string(), ": has neither ", kSingleName, " nor ", kIndexName);
}

}  // namespace winnow
