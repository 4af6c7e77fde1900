#include "tokenizer/tokenizer.h"

#include "src/base/error.h"
#include "src/base/file.h"
#include "src/base/json.h"
#include "tokenizer/spm.h"
#include "tokenizer/spm_file.h"

namespace winnow {
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;

/// `add_bos_token` of DIR/tokenizer_config.json. Where it is not said, sentencepiece's custom: yes.
bool read_add_bos(const std::filesystem::path& dir, bool has_bos) {
  const std::filesystem::path path = dir / "tokenizer_config.json";
  if (!path_exists(path)) return has_bos;
  const std::string name = path.string();
  const Json config = parse_json(read_model_file(path, kMaxConfigBytes), name);
  if (!config.is_object()) fail(ExitCode::kModel, name, ": is no JSON object");
  const auto entry = config.find("add_bos_token");
  if (entry == config.end() || entry->is_null()) return has_bos;
  if (!entry->is_boolean()) {
    fail(ExitCode::kModel, name, ": add_bos_token is ", quoted(entry->dump()),
         "; expected true or false");
  }
  const bool add_bos = entry->get<bool>();
  if (add_bos && !has_bos) {
    fail(ExitCode::kModel, name, ": add_bos_token is true, but tokenizer.model has no bos piece");
  }
  return add_bos;
}

}  // namespace

std::vector<int32_t> Tokenizer::stop_ids() const {
  const std::optional<int32_t> id = eos();
  return id ? std::vector<int32_t>{*id} : std::vector<int32_t>{};
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  bool at_start = true;
  for (const int32_t id : ids) {
    text += decode_piece(id, at_start);
    // A control token gives nothing anywhere; "▁" gives nothing only at the start, and ends it.
    at_start = at_start && decode_piece(id, false).empty();
  }
  return text;
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& dir) {
  require_directory(dir);
  const std::filesystem::path path = dir / "tokenizer.model";
  if (!path_exists(path)) {
    if (path_exists(dir / "tokenizer.json")) {
      fail(ExitCode::kModel, dir.string(),
           ": tokenizer.json (byte-level BPE) is not supported yet; need tokenizer.model");
    }
    fail(ExitCode::kModel, dir.string(), ": has no tokenizer.model");
  }
  const std::string name = path.string();
  const std::string bytes = read_model_file(path, kMaxSpmFileBytes);
  SpmFile file = parse_spm_file(std::as_bytes(std::span(bytes)), name);
  const bool adds_bos = read_add_bos(dir, file.bos >= 0);
  return std::make_unique<SpmTokenizer>(std::move(file), adds_bos, name);
}

}  // namespace winnow
