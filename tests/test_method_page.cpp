// The page about the methods, src/kv/README.md: its table says of each what its class says.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "src/kv/policy.h"
#include "tests/support/shown.h"

namespace winnow::test {
namespace {

using Cells = std::vector<std::string>;

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(' ');
  return first == std::string::npos ? ""
                                    : text.substr(first, text.find_last_not_of(' ') + 1 - first);
}

/// "| `sage` | a | b |" gives "`sage`", "a", "b".
Cells cells_of(const std::string& line) {
  Cells cells;
  std::istringstream in(line.substr(1));
  for (std::string cell; std::getline(in, cell, '|');) cells.push_back(trimmed(cell));
  return cells;
}

/// The rows under the heading "| method | ...", by the name in the first cell.
std::map<std::string, Cells> method_rows() {
  std::ifstream page("src/kv/README.md");
  std::map<std::string, Cells> rows;
  bool in_table = false;
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with("| method |")) in_table = true;
    if (!line.starts_with("|")) in_table = false;
    if (!in_table || !line.starts_with("| `")) continue;
    Cells cells = cells_of(line);
    const std::string name = cells[0].substr(1, cells[0].find('`', 1) - 1);
    CHECK_MESSAGE(rows.emplace(name, cells).second, name, " has two rows");
  }
  return rows;
}

std::string cut_word(const Policy& policy) {
  if (!policy.scores_rows()) return "none";
  switch (policy.cut()) {
    case CutScope::kList: return "list";
    case CutScope::kLayer: return "layer";
    case CutScope::kModel: return "model";
  }
  return "";
}

std::string decode_word(DecodeRule rule) {
  if (rule == DecodeRule::kAppend) return "append";
  return rule == DecodeRule::kRing ? "ring" : "replace the least";
}

bool says(const std::string& cell, const std::string& words) {
  return cell.find(words) != std::string::npos;
}

/// Neither empty nor dots that stand for words to come.
bool says_something(const std::string& cell) {
  return cell.find_first_not_of(". ") != std::string::npos;
}

TEST_CASE("methods page: a row for each method, which says what the method says of itself") {
  const auto rows = method_rows();
  for (const std::string_view name : policy_names()) {
    CAPTURE(std::string(name));
    const auto at = rows.find(std::string(name));
    if (at == rows.end()) {
      FAIL_CHECK("src/kv/README.md has no row for ", std::string(name));
      continue;
    }
    const Cells& row = at->second;
    REQUIRE(row.size() == 7);  // method, believes, needs, cut, decode, source, fails where
    for (const std::string& cell : row) CHECK_MESSAGE(says_something(cell), "cell: '", cell, "'");
    const auto policy = make_policy(name);
    const Needs needs = policy->needs();
    CHECK(says(row[2], "last " + std::to_string(needs.queries) + " queries") ==
          (needs.queries > 1));
    CHECK(says(row[2], "output factors") == needs.o_factors);
    CHECK(says(row[2], "statistics of all queries") == needs.query_statistics);
    CHECK(says(row[2], "sums over all queries") == needs.column_sums);
    CHECK(says(row[2], "page's keys") == (policy->paging(64).n_read > 0));
    CHECK(row[3] == cut_word(*policy));
    CHECK(row[4] == decode_word(policy->decode_rule()));
    CHECK(std::filesystem::exists("src/kv/" + std::string(name) + ".h"));
  }
}

TEST_CASE("methods page: no row without a method") {
  const std::vector<std::string_view> names = policy_names();
  for (const auto& [name, row] : method_rows()) {
    if (name == "--kv-heads FILE") continue;  // says which heads the method rules, and is none
    CHECK_MESSAGE(std::ranges::count(names, name) == 1, "src/kv/README.md has a row for ", name,
                  ", and there is no such method");
  }
}

}  // namespace
}  // namespace winnow::test
