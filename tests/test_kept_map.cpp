// The page of what was kept: its data, and what a browser makes of it.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>

#include "src/base/error.h"
#include "src/kv/kept_map.h"
#include "src/kv/kept_pieces.h"
#include "src/kv/kept_shares.h"
#include "tests/support/kept_record.h"
#include "tests/support/process.h"

using namespace winnow;
using namespace winnow::test;

namespace {

using Json = nlohmann::json;

constexpr std::string_view kOpenData = "<script id=\"kept\" type=\"application/json\">";

/// The text between the first `open` and the `close` after it.
std::string between(const std::string& text, std::string_view open, std::string_view close) {
  const size_t begin = text.find(open);
  REQUIRE(begin != std::string::npos);
  const size_t end = text.find(close, begin + open.size());
  REQUIRE(end != std::string::npos);
  return text.substr(begin + open.size(), end - begin - open.size());
}

size_t occurrences(const std::string& text, std::string_view word) {
  size_t n = 0;
  for (size_t at = 0; (at = text.find(word, at)) != std::string::npos; at += word.size()) ++n;
  return n;
}

KeptHead decode_runs(const Json& runs) {
  KeptHead head;
  int32_t end = 0;
  REQUIRE(runs.size() % 3 == 0);
  for (size_t i = 0; i < runs.size(); i += 3) {
    end += runs[i].get<int32_t>();
    for (int32_t row = 0; row < runs[i + 1].get<int32_t>(); ++row) {
      head.position.push_back(end++);
      head.mask.push_back(runs[i + 2].get<uint32_t>());
    }
  }
  return head;
}

Words numbered_tokens(int64_t n) {
  Words tokens;
  for (int64_t i = 0; i < n; ++i) tokens.push_back(" w" + std::to_string(i));
  return tokens;
}

/// A browser's run that prints what the document at `address` in `dir` has become.
Finished dump_dom(const std::string& browser, const TempDir& dir, const std::string& address) {
  return test::run(ProcessSpec{
      .arguments = {"--headless", "--no-sandbox", "--disable-gpu",
                    "--user-data-dir=" + (dir / "profile").string(), "--virtual-time-budget=2000",
                    "--dump-dom", "file://" + (dir / address).string()},
      .environment = {{"HOME", dir.path().string()}},
      .program = browser});
}

/// The path of a browser that can show a file; empty, and a message, where there is none.
std::string find_browser() {
  const TempDir dir;
  write_file(dir / "probe.html", "<body><script>document.body.textContent = 6 * 7</script>");
  const char* const path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    for (const char* const name : {"chromium", "chromium-browser", "google-chrome"}) {
      const std::string file = folder + "/" + name;
      if (access(file.c_str(), X_OK) != 0) continue;
      if (dump_dom(file, dir, "probe.html").out.find("<body>42") != std::string::npos) {
        return file;
      }
    }
  }
  MESSAGE("skipped: no chromium in PATH");
  return {};
}

/// The document that the page becomes, with `then` run at its end, at `hash` of its address.
std::string browse(const std::string& browser, std::string page, const std::string& hash = "",
                   const std::string& then = "") {
  const TempDir dir;
  if (!then.empty()) {
    page.insert(page.rfind("</body>"), "<script>" + then + "</script>");
  }
  write_file(dir / "page.html", page);
  const Finished run = dump_dom(browser, dir, "page.html" + hash);
  REQUIRE(run.code == 0);
  return run.out;
}

/// Spans of the text with each level.
std::vector<size_t> levels_in(const std::string& dom) {
  const std::string text = between(dom, "<div id=\"text\"", "<div id=\"tip\"");
  std::vector<size_t> n;
  for (int level = 0; level < kKeptLevels; ++level) {
    n.push_back(occurrences(text, "<span class=\"k" + std::to_string(level) + "\""));
  }
  return n;
}

/// The same from the record, for the picked layer and query head, -1 for all. One token, one piece.
std::vector<size_t> expected_levels(const KeptRecord& record, int64_t layer, int64_t head) {
  std::vector<size_t> n(kKeptLevels, 0);
  for (int64_t t = 0; t < record.n_tokens; ++t) {
    int64_t count = 0;
    int64_t pairs = 0;
    for (int64_t l = 0; l < record.n_layers; ++l) {
      for (int64_t q = 0; q < record.n_kv_heads * record.group; ++q) {
        if ((layer >= 0 && l != layer) || (head >= 0 && q != head)) continue;
        ++pairs;
        if (kept_sees(record, l, q, t)) ++count;
      }
    }
    ++n[static_cast<size_t>(kept_level(count, pairs))];
  }
  return n;
}

}  // namespace

TEST_CASE("kept_map holds the record") {
  for (const int64_t group : {1, 3, 32}) {
    CAPTURE(group);
    KeptRecord record = random_kept(300, 3, 2, group, 0.7, static_cast<uint64_t>(group));
    record.heads[2] = {};
    const std::string page = kept_map(record, numbered_tokens(300));
    const Json json = Json::parse(between(page, kOpenData, "</script>"));
    CHECK(json["policy"] == "sage");
    CHECK(json["budget"] == 64);
    CHECK(json["n_tokens"] == 300);
    CHECK(json["n_layers"] == 3);
    CHECK(json["n_kv_heads"] == 2);
    CHECK(json["group"] == group);
    CHECK(json["pieces"].get<Words>() == numbered_tokens(300));
    CHECK(json["joined"].empty());
    CHECK(json["level_percent"] == Json(kKeptLevelPercent));
    REQUIRE(json["heads"].size() == record.heads.size());
    for (size_t i = 0; i < record.heads.size(); ++i) {
      const KeptHead head = decode_runs(json["heads"][i]);
      CHECK(head.position == record.heads[i].position);
      std::vector<uint32_t> masks = record.heads[i].mask;
      for (uint32_t& mask : masks) mask &= group_bits(record);
      CHECK(head.mask == masks);
    }
  }
}

TEST_CASE("kept_map of a full cache is a run a head") {
  KeptRecord record = random_kept(5000, 2, 2, 4, 1.1, 1);
  for (KeptHead& head : record.heads) head.mask.assign(5000, 0xffffffffU);
  record.budget.reset();
  const std::string page = kept_map(record, Words(5000, "x"));
  const Json json = Json::parse(between(page, kOpenData, "</script>"));
  CHECK(json["budget"].is_null());
  for (const Json& runs : json["heads"]) CHECK(runs == Json({0, 5000, 15}));
}

TEST_CASE("no text of a token means anything to the page") {
  const Words tokens = hostile_tokens();
  const auto n = static_cast<int64_t>(tokens.size());
  KeptRecord record = random_kept(n, 1, 1, 1, 0.5, 3);
  record.policy = "</script>\xFF<!--";
  const std::string page = kept_map(record, tokens);
  const std::string plain = kept_map(random_kept(n, 1, 1, 1, 0.5, 3), Words(tokens.size(), "x"));
  // As many elements and comments as with harmless text.
  for (const char* const mark : {"<", ">", "<script", "</script", "<!--", "]]>"}) {
    CAPTURE(mark);
    CHECK(occurrences(page, mark) == occurrences(plain, mark));
  }
  const std::string data = between(page, kOpenData, "</script>");
  CHECK(data.find_first_of("<>&") == std::string::npos);
  for (const char c : data) CHECK(static_cast<unsigned char>(c) >= 0x20);
  CHECK(data.find("\xE2\x80\xA8") == std::string::npos);

  Words pieces;
  std::vector<int64_t> joined;
  for (const KeptPiece& piece : kept_pieces(tokens)) {
    if (piece.n > 1) {
      joined.push_back(static_cast<int64_t>(pieces.size()));
      joined.push_back(piece.n);
    }
    pieces.push_back(piece.text);
  }
  const Json json = Json::parse(data);
  CHECK(json["pieces"].get<Words>() == pieces);
  CHECK(json["joined"].get<std::vector<int64_t>>() == joined);
  CHECK(joined.size() == 2);  // two tokens that hold no more than the start of an emoji
}

TEST_CASE("kept_map needs nothing but itself") {
  const std::string page = kept_map(random_kept(9, 1, 1, 1, 0.5, 3), Words(9, "x"));
  CHECK(page.starts_with("<!doctype html>"));
  for (const char* const word : {"http:", "https:", "src=", "url(", "@import", "fetch(", "<link"}) {
    CAPTURE(word);
    CHECK(page.find(word) == std::string::npos);
  }
  CHECK(page.find("default-src 'none'") != std::string::npos);
}

TEST_CASE("kept_map refuses a text of another length") {
  CHECK_THROWS_AS(kept_map(random_kept(9, 1, 1, 1, 0.5, 3), Words(8, "x")), Error);
}

TEST_CASE("a browser shades the text by all heads, a layer, a column, or one head") {
  const std::string browser = find_browser();
  if (browser.empty()) return;
  KeptRecord record = random_kept(700, 3, 2, 3, 0.2, 5);
  for (int32_t t = 0; t < 3; ++t) {  // tokens that every head sees
    for (KeptHead& head : record.heads) {
      const auto at = std::lower_bound(head.position.begin(), head.position.end(), t);
      const auto mask = head.mask.begin() + (at - head.position.begin());
      if (at != head.position.end() && *at == t) {
        *mask = 7;
      } else {
        head.mask.insert(mask, 7);
        head.position.insert(at, t);
      }
    }
  }
  const std::string page = kept_map(record, numbered_tokens(700));
  const std::string dom = browse(browser, page);
  CHECK(levels_in(dom) == expected_levels(record, -1, -1));
  CHECK(levels_in(dom)[7] >= 3);
  CHECK(occurrences(dom, "<td") == 3 * 6);
  CHECK(occurrences(dom, "<th") == 3 + 6 + 1);
  CHECK(dom.find("<dd>" + std::to_string(kept_rows(record)) + " of 4,200, ") != std::string::npos);

  CHECK(levels_in(browse(browser, page, "#2,all")) == expected_levels(record, 2, -1));
  CHECK(levels_in(browse(browser, page, "#all,4")) == expected_levels(record, -1, 4));
  CHECK(levels_in(browse(browser, page, "#1,5")) == expected_levels(record, 1, 5));
}

TEST_CASE("a browser's keys and pointer pick heads, and a token tells its heads") {
  const std::string browser = find_browser();
  if (browser.empty()) return;
  const KeptRecord record = random_kept(120, 2, 2, 2, 0.4, 6);
  const std::string page = kept_map(record, numbered_tokens(120));
  const std::string dom = browse(browser, page, "", R"(
    const press = key => grid.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
    ['ArrowUp', 'ArrowDown', 'ArrowDown', 'ArrowRight', 'ArrowRight', 'ArrowRight', 'ArrowLeft']
      .forEach(press);
    spanOf(17).click();
    for (const block of blocks) paint(block);)");
  CHECK(dom.find("aria-activedescendant=\"cell-2-2\"") != std::string::npos);
  CHECK(occurrences(dom, "aria-selected=\"true\"") == 1);
  CHECK(levels_in(dom) == expected_levels(record, 1, 1));
  CHECK(between(dom, "role=\"status\">", "<").starts_with("Layer 1, query head 1 (of KV head 0)"));
  size_t seeing = 0;
  for (int64_t l = 0; l < 2; ++l) {
    for (int64_t q = 0; q < 4; ++q) seeing += kept_sees(record, l, q, 17) ? 1 : 0;
  }
  const std::string table = between(dom, "<table", "</table>");
  CHECK(occurrences(table, " sees\"") + occurrences(table, "\"sees\"") == seeing);
  CHECK(occurrences(between(dom, "<div id=\"text\"", "<div id=\"tip\""), "data-found") == 1);

  const std::string pointed = browse(browser, page, "#0,0", R"(
    cellAt(2, 4).dispatchEvent(new PointerEvent('pointerover', {bubbles: true}));
    for (const block of blocks) paint(block);)");
  CHECK(levels_in(pointed) == expected_levels(record, 1, 3));
  const std::string escaped = browse(browser, page, "#0,0", R"(
    document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape', bubbles: true}));
    for (const block of blocks) paint(block);)");
  CHECK(levels_in(escaped) == expected_levels(record, -1, -1));
}

TEST_CASE("a browser shows hostile text as text") {
  const std::string browser = find_browser();
  if (browser.empty()) return;
  const Words tokens = hostile_tokens();
  const KeptRecord record = random_kept(static_cast<int64_t>(tokens.size()), 1, 1, 1, 0.5, 3);
  const std::string dom = browse(browser, kept_map(record, tokens));
  const std::string text = between(dom, "<div id=\"text\"", "<div id=\"tip\"");
  CHECK(text.find("&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;") != std::string::npos);
  CHECK(occurrences(text, "<span") == kept_pieces(tokens).size());
  CHECK(occurrences(dom, "<script") == 2);
}
