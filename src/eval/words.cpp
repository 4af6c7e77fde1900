#include "src/eval/words.h"

#include <algorithm>
#include <string_view>

#include "src/base/error.h"
#include "src/base/file.h"
#include "src/base/json.h"

namespace winnow {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{16} << 20;

bool is_word(const Json& value) {
  if (!value.is_string()) return false;
  const auto& text = value.get_ref<const std::string&>();
  return !text.empty() && text.find_first_of(" \t\r\n\v\f") == std::string::npos;
}

std::vector<std::string> word_list(const Json& json, const char* name, const std::string& path) {
  const auto found = json.find(name);
  if (found == json.end()) fail(ExitCode::kIo, path, ": there is no list \"", name, "\"");
  const bool words = found->is_array() && !found->empty() && std::ranges::all_of(*found, is_word);
  if (!words) fail(ExitCode::kIo, path, ": \"", name, "\" must be a list of words");
  return found->get<std::vector<std::string>>();
}

}  // namespace

NeedleWords default_needle_words() {
  return {
      .adjectives = {"amber", "brave", "bright", "calm",   "clever", "copper", "crimson", "dusty",
                     "eager", "early", "gentle", "golden", "green",  "hidden", "hollow",  "humble",
                     "iron",  "kind",  "little", "lucky",  "merry",  "misty",  "noble",   "patient",
                     "quiet", "royal", "silver", "simple", "sunny",  "velvet", "violet",  "wooden"},
      .nouns = {"anchor", "arrow",  "basket", "beacon", "bridge",  "candle", "castle", "clock",
                "cloud",  "dragon", "eagle",  "falcon", "forest",  "fox",    "gate",   "hammer",
                "harbor", "island", "kettle", "ladder", "lantern", "lion",   "maple",  "market",
                "mirror", "needle", "otter",  "palace", "pirate",  "raven",  "river",  "sailor",
                "spider", "temple", "tiger",  "tower",  "valley",  "violin", "wagon",  "whale"},
      .values = {
          "apple",  "autumn", "bread",   "breeze",  "butter", "button", "chain",   "cherry",
          "circle", "coffee", "cotton",  "curtain", "desert", "dinner", "engine",  "feather",
          "finger", "flower", "garden",  "glass",   "grain",  "guitar", "hill",    "honey",
          "jacket", "jewel",  "journey", "lemon",   "letter", "marble", "meadow",  "mountain",
          "music",  "ocean",  "orange",  "paper",   "pencil", "pepper", "pillow",  "planet",
          "pocket", "queen",  "rabbit",  "ribbon",  "rocket", "saddle", "shadow",  "silence",
          "snow",   "spring", "square",  "stone",   "summer", "sugar",  "thunder", "ticket",
          "timber", "travel", "tunnel",  "village", "window", "winter", "wisdom",  "yellow"}};
}

NeedleWords read_needle_words(const std::filesystem::path& path) {
  const std::string name = path.string();
  Json json;
  try {
    json = parse_json(read_model_file(path, kMaxFileBytes), name);
  } catch (const Error& error) {
    fail(ExitCode::kIo, error.what());  // no part of a model, whatever is wrong with it
  }
  if (!json.is_object()) fail(ExitCode::kIo, name, ": must be a JSON object");
  return {.adjectives = word_list(json, "key_adjectives", name),
          .nouns = word_list(json, "key_nouns", name),
          .values = word_list(json, "value_words", name)};
}

}  // namespace winnow
