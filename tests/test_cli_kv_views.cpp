// What was kept of a prompt, as users see it: --kv-dump, --kv-map and --kv-show.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "tests/support/winnow_runs.h"

namespace winnow::test {
namespace {

const std::string kText =
    "It was a dark night, and the captain said to the men that they should go on to the ship and "
    "wait there until the morning came and the sea was calm";
const Words kRun = {"generate", "-m", kDemo, "-p", kText, "-n", "8"};
const Words kSage = joined(kRun, {"--kv-policy", "sage", "--kv-budget", "16"});

/// How a budget is divided: the first `sink` rows, the last `recent`, and k a list.
struct Division {
  int64_t sink = 0;
  int64_t recent = 0;
  int64_t k = 0;
};

/// One head of the dump: ascending positions without a gap at its ends, and k rows between for each
/// query head of the group. `shared` is one list for the group.
void check_head(const OrderedJson& head, const Division& want, int64_t n_tokens, int64_t group,
                bool shared) {
  const auto positions = head["positions"].get<std::vector<int64_t>>();
  const auto masks = head["masks"].get<std::vector<uint32_t>>();
  CAPTURE(head.dump());
  REQUIRE(positions.size() == masks.size());
  const uint32_t all = (1U << group) - 1;
  std::vector<int64_t> taken(static_cast<size_t>(group));  // between, by query head
  int64_t sinks = 0;
  int64_t recents = 0;
  for (size_t i = 0; i < positions.size(); ++i) {
    if (i > 0) CHECK(positions[i] > positions[i - 1]);
    CHECK(masks[i] != 0);
    CHECK(masks[i] <= all);
    const bool sink = positions[i] < want.sink;
    const bool recent = positions[i] >= n_tokens - want.recent;
    sinks += sink ? 1 : 0;
    recents += recent ? 1 : 0;
    if (sink || recent || shared) CHECK(masks[i] == all);
    if (sink || recent) continue;
    for (size_t g = 0; g < taken.size(); ++g) taken[g] += masks[i] >> g & 1;
  }
  CHECK(sinks == want.sink);
  CHECK(recents == want.recent);
  for (const int64_t rows : taken) CHECK(rows == want.k);
  CHECK(positions.back() == n_tokens - 1);
}

void check_dump(const KeptRun& run, const Division& want, bool shared = false) {
  const OrderedJson& kept = run.kept;
  const auto group = kept["group"].get<int64_t>();
  const auto n_tokens = kept["n_tokens"].get<int64_t>();
  CHECK(kept["policy"] == run.json["kv"]["policy"]);
  CHECK(kept["budget"] == run.json["kv"]["budget"]);
  CHECK(n_tokens == run.json["prompt_tokens"]);
  REQUIRE(static_cast<int64_t>(kept["layers"].size()) == kept["n_layers"]);
  for (const OrderedJson& layer : kept["layers"]) {
    REQUIRE(static_cast<int64_t>(layer["heads"].size()) == kept["n_kv_heads"]);
    for (const OrderedJson& head : layer["heads"]) check_head(head, want, n_tokens, group, shared);
  }
  const std::vector<int64_t> rows = run.rows();
  CHECK(run.json["kv"]["rows_kept"] == std::accumulate(rows.begin(), rows.end(), int64_t{0}));
}

/// Runs with a file for what `option` writes, and returns that.
std::string written_by(const Words& run, const std::string& option) {
  const TempDir dir;
  const std::string file = (dir / "file").string();
  write_file(file, std::string(1 << 20, 'x'));  // what was there goes
  succeed(joined(run, {option, file}));
  return read_file(file);
}

/// The JSON inside of a page.
OrderedJson data_of(const std::string& page) {
  const std::string open = R"(<script id="kept" type="application/json">)";
  const size_t begin = page.find(open) + open.size();
  REQUIRE(begin >= open.size());
  return json_of(page.substr(begin, page.find("</script>", begin) - begin));
}

/// The lines of a --kv-show that begins with "policy ", up to the empty one at its end.
Words shown_by(const std::string& err) {
  Words lines = lines_of(err);
  const auto first = std::ranges::find_if(
      lines, [](const std::string& line) { return line.starts_with("policy "); });
  REQUIRE(first != lines.end());
  const auto last = std::ranges::find_if(lines, [](const std::string& line) {
    return line.starts_with("decode ") || line.starts_with("load ");
  });
  return {first, last};
}

bool holds_escapes(const std::string& text) {
  return text.find('\x1b') != std::string::npos;
}

/// A run whose stderr is a terminal.
ProcessSpec on_terminal(Words arguments) {
  ProcessSpec spec{.arguments = std::move(arguments),
                   .environment = {{"TERM", "xterm"}, {"NO_COLOR", std::nullopt}}};
  spec.streams[2] = {Stream::kTerminal};
  return spec;
}

}  // namespace

TEST_CASE("cli kv views: --kv-dump lists sinks, recent rows and the best of each query head") {
  const auto with = [](const Words& more) { return kept_run(joined(kRun, more)); };
  // 6 query heads over 2 KV heads: B = S + 3 k + R.
  const Division paper = {.sink = 6, .recent = 6, .k = 4};
  check_dump(with({"--kv-policy", "sage", "--kv-budget", "24"}), paper);
  check_dump(with({"--kv-policy", "random", "--kv-budget", "24"}), paper);
  check_dump(with({"--kv-policy", "streaming", "--kv-budget", "24"}), {.sink = 4, .recent = 20});
  const Words shares = {"--kv-budget", "24", "--kv-sink", "2", "--kv-recent", "3"};
  check_dump(with(joined(shares, {"--kv-policy", "sage"})), {.sink = 2, .recent = 4, .k = 6});
  check_dump(with({"--kv-policy", "sage", "--kv-budget", "25", "--kv-sink", "0"}),
             {.recent = 13, .k = 4});
  check_dump(with({"--kv-policy", "streaming", "--kv-budget", "24", "--kv-sink", "0"}),
             {.recent = 24});
  check_dump(with({"--kv-policy", "streaming", "--kv-budget", "24", "--kv-recent", "3"}),
             {.sink = 21, .recent = 3});
  for (const char* group : {"mean", "max", "sum"}) {
    const Words combined = {"--kv-policy", "sage", "--kv-budget", "24", "--kv-group", group};
    check_dump(with(combined), {.sink = 6, .recent = 6, .k = 12}, true);
  }
}

TEST_CASE("cli kv views: --kv-dump for models with and without groups") {
  for (const int64_t n_kv_heads : {1, 2, 4}) {
    const TinyDir tiny({.n_heads = 4, .n_kv_heads = n_kv_heads});
    const int64_t group = 4 / n_kv_heads;
    const int64_t k = 20 / (2 * group);
    const Words run = {"generate", "-m", tiny.name(), "-p", text_of(59), "-n", "3"};
    for (const char* policy : {"sage", "random"}) {
      const KeptRun kept = kept_run(joined(run, {"--kv-policy", policy, "--kv-budget", "20"}));
      check_dump(kept, {.sink = 5, .recent = 15 - group * k, .k = k});
    }
  }
}

TEST_CASE("cli kv views: --kv-dump of a full cache is every row") {
  for (const Words& more : {Words{}, Words{"--kv-policy", "sage", "--kv-budget", "40"}}) {
    const KeptRun run = kept_run(joined(kRun, more));
    const int64_t n = run.json["prompt_tokens"].get<int64_t>();
    CHECK(run.kept["budget"] == run.json["kv"]["budget"]);
    check_dump(run, {.sink = n, .recent = n}, true);
  }
}

TEST_CASE("cli kv views: --kv-map is one page that holds the text, and none of it as markup") {
  const std::string harm = "<b>bold</b> </script><script>alert(1)</script> <!-- \"x\" & 'y' -->";
  Words run = kSage;
  *std::ranges::find(run, kText) = kText + harm;
  const std::string page = written_by(run, "--kv-map");
  CHECK(page.starts_with("<!doctype html>"));
  CHECK(page.ends_with("</html>\n"));
  for (const char* part : {"<b>bold", "alert(1)</script>", "<!-- \"x"}) {
    CHECK(page.find(part) == std::string::npos);
  }
  for (const char* part : {"http:", "https:", "<link", "src="}) {  // one file, nothing is fetched
    CHECK(page.find(part) == std::string::npos);
  }
  const OrderedJson data = data_of(page);
  std::string text;
  for (const OrderedJson& piece : data["pieces"]) text += piece.get<std::string>();
  CHECK(text == "<s>" + kText + harm);
  CHECK(data["policy"] == "sage");
  CHECK(data["budget"] == 16);
  CHECK(data["heads"].size() == 16);
}

TEST_CASE("cli kv views: --kv-map and --kv-dump tell the same rows, in one run as in two") {
  const TempDir dir;
  const std::string map = (dir / "map.html").string();
  const std::string dump = (dir / "dump.json").string();
  const Finished both = succeed(joined(kSage, {"--kv-map", map, "--kv-dump", dump}));
  CHECK(both.out == succeed(kSage).out);
  CHECK(read_file(map) == written_by(kSage, "--kv-map"));
  CHECK(read_file(dump) == written_by(kSage, "--kv-dump"));

  const OrderedJson data = data_of(read_file(map));
  const OrderedJson kept = json_of(read_file(dump));
  for (size_t i = 0; i < data["heads"].size(); ++i) {
    const OrderedJson& head = kept["layers"][i / 2]["heads"][i % 2];
    std::vector<int64_t> positions;
    std::vector<int64_t> masks;
    const auto runs = data["heads"][i].get<std::vector<int64_t>>();  // gap, rows, mask, ...
    int64_t at = 0;
    for (size_t r = 0; r < runs.size(); r += 3) {
      at += runs[r];
      for (int64_t n = 0; n < runs[r + 1]; ++n) {
        positions.push_back(at++);
        masks.push_back(runs[r + 2]);
      }
    }
    CHECK(head["positions"] == positions);
    CHECK(head["masks"] == masks);
  }
}

TEST_CASE("cli kv views: --kv-show is on stderr, without colours where that is no terminal") {
  const std::string text = succeed(kSage).out;
  const Finished run = succeed(joined(kSage, {"--kv-show"}));
  CHECK(run.out == text);
  CHECK_FALSE(holds_escapes(run.err));
  const Words lines = shown_by(run.err);
  CHECK(lines[0].find("policy sage, budget 16: 34 tokens; of 48 query heads") == 0);
  CHECK(lines[1].starts_with("seen by none"));
  std::string shown;  // every second line; the others are marks
  for (size_t i = 3; i + 1 < lines.size(); i += 2) shown += lines[i];
  CHECK(shown == "<s>" + kText);
  CHECK(lines[4].starts_with("@@@"));  // the first token is a sink
  CHECK(succeed(joined(kSage, {"--kv-show", "-q"})).err.empty());
}

TEST_CASE("cli kv views: --kv-show of a full cache shows that all is seen") {
  const Words lines = shown_by(succeed(joined(kRun, {"--kv-show"})).err);
  CHECK(lines[0].find("policy full: 34 tokens") == 0);
  CHECK(lines[0].find("all see 34 tokens, some see 0, none sees 0") != std::string::npos);
  for (size_t i = 4; i < lines.size(); i += 2) {
    CHECK(lines[i].find_first_not_of('@') == std::string::npos);
  }
}

TEST_CASE("cli kv views: --kv-show has colours on a terminal, and where they are demanded") {
  const std::string text = succeed(kSage).out;
  const Words show = joined(kSage, {"--kv-show"});
  const Finished always = succeed(joined(show, {"--color", "always"}));
  CHECK(holds_escapes(always.err));
  CHECK(always.out == text);
  const Finished terminal = succeed(on_terminal(show));
  CHECK(holds_escapes(terminal.terminal));
  CHECK(terminal.out == text);

  CHECK_FALSE(holds_escapes(succeed(on_terminal(joined(show, {"--color", "never"}))).terminal));
  ProcessSpec plain = on_terminal(show);
  plain.environment["NO_COLOR"] = "1";
  CHECK_FALSE(holds_escapes(succeed(plain).terminal));
  ProcessSpec dumb = on_terminal(show);
  dumb.environment["TERM"] = "dumb";
  CHECK_FALSE(holds_escapes(succeed(dumb).terminal));
}

TEST_CASE("cli kv views: escape codes in a prompt are shown and reach no terminal") {
  Words run = joined(kSage, {"--kv-show", "--color", "never"});
  *std::ranges::find(run, kText) = "\x1b[31mred\x1b]0;title\x07 " + kText;
  const Finished done = succeed(run);
  CHECK_FALSE(holds_escapes(done.err));
  CHECK(done.err.find("\\x1b[31mred\\x1b]0;title\\x07") != std::string::npos);
}

TEST_CASE("cli kv views: they take the texts of both prompts") {
  const Words run = joined(kSage, {"--then", " The <girl> did not know it."});
  OrderedJson data = data_of(written_by(run, "--kv-map"));
  std::string text;
  for (const OrderedJson& piece : data["pieces"]) text += piece.get<std::string>();
  CHECK(text == "<s>" + kText + " The <girl> did not know it.");
  const Finished shown = succeed(joined(run, {"--kv-show"}));
  CHECK(shown.err.find("<girl>") != std::string::npos);
}

}  // namespace winnow::test
