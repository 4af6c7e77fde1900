// Tokenizers against the ids that other libraries give: tests/fixtures/tokenizers, made by
// tools/make_tokenizer_fixtures.py, and the folders in WINNOW_TOKENIZER_CASES, which
// tools/compare_tokenizers.py fills with many more.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "src/base/json.h"
#include "tests/support/temp_dir.h"
#include "tokenizer/tokenizer.h"

using namespace winnow;

namespace {

using Ids = std::vector<int32_t>;

std::vector<std::filesystem::path> case_folders() {
  std::vector<std::filesystem::path> roots = {"tests/fixtures/tokenizers"};
  if (const char* more = std::getenv("WINNOW_TOKENIZER_CASES")) roots.emplace_back(more);
  std::vector<std::filesystem::path> folders;
  for (const auto& root : roots) {
    for (const auto& entry : std::filesystem::directory_iterator(root)) {
      if (std::filesystem::exists(entry.path() / "cases.json")) folders.push_back(entry.path());
    }
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

}  // namespace

TEST_CASE("tokenizers give the ids of other libraries") {
  const auto folders = case_folders();
  REQUIRE(folders.size() >= 6);
  for (const auto& folder : folders) {
    CAPTURE(folder.string());
    const auto tokenizer = load_tokenizer(folder);
    const Json cases = parse_json(test::read_file(folder / "cases.json"), folder.string());
    REQUIRE(cases.size() > 100);
    for (const Json& entry : cases) {
      const auto text = entry[0].get<std::string>();
      const auto ids = entry[1].get<Ids>();
      CAPTURE(text);
      CHECK(tokenizer->encode(text) == ids);
      if (entry.size() > 2 && entry[2].is_null()) continue;  // its decode is not compared
      CHECK(tokenizer->decode(ids) == (entry.size() > 2 ? entry[2].get<std::string>() : text));
    }
  }
}
