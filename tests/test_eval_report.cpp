// The rows of an evaluation as text, Markdown, CSV, JSON and JSONL.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "src/base/json.h"
#include "src/eval/report.h"
#include "tests/support/expect_error.h"
#include "tests/support/temp_dir.h"

namespace winnow::test {
namespace {

using OrderedJson = nlohmann::ordered_json;
using Strings = std::vector<std::string>;

const Strings kKeys = {"task",       "policy",     "budget",    "question",  "length",
                       "depth",      "n",          "accuracy",  "ci95",      "rows_kept",
                       "bytes_kept", "bytes_peak", "footprint", "occupancy", "ms_per_token"};

EvalRow sage_row() {
  return {.task = "needle",
          .policy = "sage",
          .budget = 128,
          .question = QuestionSeen::kAfter,
          .length = 4096,
          .depth = {},
          .n = 20,
          .accuracy = 0.95,
          .ci95 = {.low = 0.7639, .high = 0.9911},
          .rows_kept = 1920,
          .bytes_kept = 983040,
          .bytes_peak = 3145728,
          .footprint = 0.25,
          .occupancy = 0.125,
          .ms_per_token = 1.5};
}

EvalRow full_row() {
  EvalRow row = sage_row();
  row.policy = "full";
  row.budget.reset();
  row.question = QuestionSeen::kBefore;
  row.accuracy = 1;
  row.ci95 = {.low = 0.8389, .high = 1};
  return row;
}

EvalRow at_depth(EvalRow row, double depth) {
  row.depth = depth;
  return row;
}

EvalRow with_task(const std::string& task) {
  EvalRow row = sage_row();
  row.task = task;
  return row;
}

/// What the report of `rows` writes.
std::string written(Format format, const std::vector<EvalRow>& rows) {
  const TempDir dir;
  EvalReport report({.format = format, .file = dir / "out"}, eval_columns());
  for (const EvalRow& row : rows) report.add(row_json(row));
  report.finish();
  return read_file(dir / "out");
}

Strings lines_of(const std::string& text) {
  Strings lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    REQUIRE(end != std::string::npos);
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

Strings keys_of(const OrderedJson& json) {
  Strings keys;
  for (const auto& [key, value] : json.items()) keys.push_back(key);
  return keys;
}

/// The records of a CSV file, read as RFC 4180 has it; quotes only around whole cells.
std::vector<Strings> read_csv(const std::string& text) {
  std::vector<Strings> records;
  Strings record;
  size_t at = 0;
  while (at < text.size()) {
    std::string cell;
    if (text[at] == '"') {
      for (++at; at < text.size(); ++at) {
        if (text[at] == '"' && text.at(++at) != '"') break;
        cell += text[at];
      }
    } else {
      while (text.at(at) != ',' && text[at] != '\n') {
        CHECK(text[at] != '"');
        CHECK(text[at] != '\r');
        cell += text[at++];
      }
    }
    record.push_back(cell);
    REQUIRE((text.at(at) == ',' || text[at] == '\n'));
    if (text[at++] == ',') continue;
    records.push_back(std::move(record));
    record.clear();
  }
  CHECK(record.empty());
  return records;
}

const Strings kHostile = {"a,b",      "say \"hi\"", "\"",      "\"\"",
                          ",",        "a\nb",       "a\r\nb",  "a\rb",
                          "a\tb",     "a|b",        "",        " a ",
                          "Zoë 東京", "{\"rows\":", "\\\"\\n", std::string("a\0b", 3)};

TEST_CASE("report: a row has every number under its name") {
  const OrderedJson json = row_json(at_depth(sage_row(), 0.5));
  CHECK(keys_of(json) == kKeys);
  CHECK(json["task"] == "needle");
  CHECK(json["policy"] == "sage");
  CHECK(json["budget"] == 128);
  CHECK(json["question"] == "unseen");
  CHECK(json["length"] == 4096);
  CHECK(json["depth"] == 0.5);
  CHECK(json["n"] == 20);
  CHECK(json["accuracy"] == 0.95);
  CHECK(json["ci95"] == OrderedJson::array({0.7639, 0.9911}));
  CHECK(json["rows_kept"] == 1920);
  CHECK(json["bytes_kept"] == 983040);
  CHECK(json["bytes_peak"] == 3145728);
  CHECK(json["footprint"] == 0.25);
  CHECK(json["occupancy"] == 0.125);
  CHECK(json["ms_per_token"] == 1.5);
}

TEST_CASE("report: what a row does not have is null, and not left out") {
  const OrderedJson json = row_json(full_row());
  CHECK(keys_of(json) == kKeys);
  CHECK(json["budget"].is_null());
  CHECK(json["depth"].is_null());
  CHECK(json["question"] == "seen");
  CHECK(row_json(at_depth(full_row(), 0))["depth"] == 0.0);
}

TEST_CASE("report: text is a table for people") {
  CHECK(written(Format::kText, {full_row(), sage_row()}) ==
        "task          policy       budget  question   tokens      n  accuracy          95 %"
        "        kept        peak  footprint  occupancy  ms/token\n"
        "needle        full              -  seen         4096     20   100.0 %   83.9..100.0"
        "   960.0 KiB     3.0 MiB      0.250      0.125      1.50\n"
        "needle        sage            128  unseen       4096     20    95.0 %    76.4..99.1"
        "   960.0 KiB     3.0 MiB      0.250      0.125      1.50\n");
}

TEST_CASE("report: Markdown is a table with a rule that sets numbers to the right") {
  CHECK(written(Format::kMarkdown, {full_row(), sage_row()}) ==
        "| task | policy | budget | question | tokens | n | accuracy | 95 % | kept | peak |"
        " footprint | occupancy | ms/token |\n"
        "| --- | --- | --: | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |\n"
        "| needle | full | - | seen | 4096 | 20 | 100.0 % | 83.9..100.0 | 960.0 KiB | 3.0 MiB |"
        " 0.250 | 0.125 | 1.50 |\n"
        "| needle | sage | 128 | unseen | 4096 | 20 | 95.0 % | 76.4..99.1 | 960.0 KiB | 3.0 MiB |"
        " 0.250 | 0.125 | 1.50 |\n");
}

TEST_CASE("report: rows of a single depth are left out of text and Markdown only") {
  const std::vector<EvalRow> rows = {full_row(), at_depth(full_row(), 0), at_depth(full_row(), 1),
                                     sage_row(), at_depth(sage_row(), 0.5)};
  for (const Format format : {Format::kText, Format::kMarkdown}) {
    CHECK(written(format, rows) == written(format, {full_row(), sage_row()}));
  }
  CHECK(read_csv(written(Format::kCsv, rows)).size() == 1 + 5);
  CHECK(parse_json(written(Format::kJson, rows), "out")["rows"].size() == 5);
  CHECK(lines_of(written(Format::kJsonl, rows)).size() == 5);
}

TEST_CASE("report: JSON is one document, with rows and without") {
  const std::vector<EvalRow> rows = {full_row(), at_depth(sage_row(), 0.5)};
  const Json json = parse_json(written(Format::kJson, rows), "out");
  REQUIRE(json.is_object());
  CHECK(json.size() == 1);
  REQUIRE(json["rows"].is_array());
  REQUIRE(json["rows"].size() == 2);
  for (size_t i = 0; i < 2; ++i) CHECK(json["rows"][i] == Json(row_json(rows[i])));
  const std::string none = written(Format::kJson, {});
  CHECK(parse_json(none, "out") == Json{{"rows", Json::array()}});
  CHECK(none.back() == '\n');
}

TEST_CASE("report: JSONL is a row a line, with the keys in their order") {
  const std::vector<EvalRow> rows = {full_row(), at_depth(sage_row(), 0.5)};
  const Strings lines = lines_of(written(Format::kJsonl, rows));
  REQUIRE(lines.size() == 2);
  for (size_t i = 0; i < 2; ++i) {
    const OrderedJson json = OrderedJson::parse(lines[i]);
    CHECK(keys_of(json) == kKeys);
    CHECK(json == row_json(rows[i]));
  }
}

TEST_CASE("report: CSV has the names once, the interval as two numbers, and nothing for null") {
  const std::vector<Strings> records =
      read_csv(written(Format::kCsv, {full_row(), at_depth(sage_row(), 0.5)}));
  REQUIRE(records.size() == 3);
  Strings names = kKeys;
  const auto interval = std::ranges::find(names, "ci95");
  *interval = "ci95_low";
  names.insert(interval + 1, "ci95_high");
  CHECK(records[0] == names);
  CHECK(records[1] == Strings{"needle", "full", "", "seen", "4096", "", "20", "1.0", "0.8389",
                              "1.0", "1920.0", "983040.0", "3145728.0", "0.25", "0.125", "1.5"});
  CHECK(records[2] == Strings{"needle", "sage", "128", "unseen", "4096", "0.5", "20", "0.95",
                              "0.7639", "0.9911", "1920.0", "983040.0", "3145728.0", "0.25",
                              "0.125", "1.5"});
}

TEST_CASE("report: CSV gives back any name of a task") {
  std::vector<EvalRow> rows;
  for (const std::string& task : kHostile) rows.push_back(with_task(task));
  const std::vector<Strings> records = read_csv(written(Format::kCsv, rows));
  REQUIRE(records.size() == 1 + kHostile.size());
  for (size_t i = 0; i < kHostile.size(); ++i) {
    CAPTURE(kHostile[i]);
    REQUIRE(records[i + 1].size() == records[0].size());
    CHECK(records[i + 1][0] == kHostile[i]);
    CHECK(records[i + 1][1] == "sage");
  }
  const std::string quoted = written(Format::kCsv, {with_task("say \"hi\", then")});
  CHECK(lines_of(quoted)[1].starts_with(R"("say ""hi"", then",sage,128,)"));
}

TEST_CASE("report: JSON and JSONL give back any name of a task") {
  std::vector<EvalRow> rows;
  for (const std::string& task : kHostile) rows.push_back(with_task(task));
  const Json json = parse_json(written(Format::kJson, rows), "out");
  const Strings lines = lines_of(written(Format::kJsonl, rows));
  REQUIRE(json["rows"].size() == kHostile.size());
  REQUIRE(lines.size() == kHostile.size());
  for (size_t i = 0; i < kHostile.size(); ++i) {
    CHECK(json["rows"][i]["task"] == kHostile[i]);
    CHECK(parse_json(lines[i], "out")["task"] == kHostile[i]);
  }
}

/// The bars of a line of Markdown that are not escaped.
int64_t bars(const std::string& line) {
  int64_t n = 0;
  for (size_t i = 0; i < line.size(); ++i) n += line[i] == '|' && (i == 0 || line[i - 1] != '\\');
  return n;
}

TEST_CASE("report: no name of a task breaks a table for people") {
  for (const std::string& task : kHostile) {
    CAPTURE(task);
    const Strings text = lines_of(written(Format::kText, {with_task(task)}));
    CHECK(text.size() == 2);
    CHECK(text[1].find_first_of("\r\t") == std::string::npos);
    const Strings markdown = lines_of(written(Format::kMarkdown, {with_task(task)}));
    REQUIRE(markdown.size() == 3);
    for (const std::string& line : markdown) CHECK(bars(line) == 14);  // 13 columns
  }
  CHECK(written(Format::kText, {with_task("a|b\nc")}).find("\na|b c         sage") !=
        std::string::npos);
  CHECK(written(Format::kMarkdown, {with_task("a|b\nc")}).find("\n| a\\|b c | sage |") !=
        std::string::npos);
}

TEST_CASE("report: columns of text stay below each other, whatever characters a name has") {
  const Strings lines = lines_of(
      written(Format::kText, {with_task("abc"), with_task("Zoë"), with_task("twelve chars")}));
  REQUIRE(lines.size() == 4);
  CHECK(lines[0].find("policy") == 14);
  CHECK(lines[1].find("sage") == 14);
  CHECK(lines[2].find("sage") == 15);  // ë has two bytes
  CHECK(lines[3].find("sage") == 14);
  // A name that is wider than its column moves the others, and is not cut.
  const std::string wide = written(Format::kText, {with_task("a name of 19 bytes.")});
  CHECK(wide.find("\na name of 19 bytes.  sage  ") != std::string::npos);
}

TEST_CASE("report: numbers for programs lose nothing") {
  EvalRow row = sage_row();
  row.accuracy = 1.0 / 3;
  row.ms_per_token = 0.1 + 0.2;
  row.bytes_peak = 0x1p53 - 1;
  const Json json = parse_json(written(Format::kJsonl, {row}), "out");
  CHECK(json["accuracy"].get<double>() == 1.0 / 3);
  CHECK(json["ms_per_token"].get<double>() == 0.1 + 0.2);
  CHECK(json["bytes_peak"].get<double>() == 0x1p53 - 1);
  const std::vector<Strings> records = read_csv(written(Format::kCsv, {row}));
  CHECK(std::stod(records[1][7]) == 1.0 / 3);
  CHECK(std::stod(records[1][15]) == 0.1 + 0.2);
}

TEST_CASE("report: rows are written as soon as they are known; JSON waits for its end") {
  for (const Format format : {Format::kText, Format::kMarkdown, Format::kCsv, Format::kJsonl}) {
    const TempDir dir;
    EvalReport report({.format = format, .file = dir / "out"}, eval_columns());
    report.add(row_json(full_row()));
    CHECK(read_file(dir / "out") == written(format, {full_row()}));
    report.add(row_json(sage_row()));
    const std::string both = written(format, {full_row(), sage_row()});
    CHECK(read_file(dir / "out") == both);
    report.finish();
    CHECK(read_file(dir / "out") == both);
  }
  const TempDir dir;
  EvalReport report({.format = Format::kJson, .file = dir / "out"}, eval_columns());
  report.add(row_json(full_row()));
  CHECK(read_file(dir / "out").empty());
}

TEST_CASE("report: without rows there is no table") {
  for (const Format format : {Format::kText, Format::kMarkdown, Format::kCsv, Format::kJsonl}) {
    CHECK(written(format, {}).empty());
  }
}

TEST_CASE("report: an output that cannot be opened or written") {
  const TempDir dir;
  expect_error(ExitCode::kIo, {"absent/out", "cannot write"}, [&] {
    EvalReport({.format = Format::kCsv, .file = dir / "absent/out"}, eval_columns());
  });
  for (const Format format :
       {Format::kText, Format::kMarkdown, Format::kCsv, Format::kJson, Format::kJsonl}) {
    EvalReport report({.format = format, .file = "/dev/full"}, eval_columns());
    expect_error(ExitCode::kIo, {"/dev/full: cannot write"}, [&] {
      report.add(row_json(full_row()));
      report.finish();
    });
  }
}

TEST_CASE("report: rows of perplexity have their own columns and keys") {
  const PerplexityRow row = {.policy = "streaming",
                             .budget = 64,
                             .prefix = 4096,
                             .n = 512,
                             .windows = 2,
                             .perplexity = 12.3456,
                             .bits_per_byte = 0.98765,
                             .kl = 0.0123456,
                             .top1 = 0.875,
                             .rows_kept = 960,
                             .bytes_kept = 512,
                             .bytes_peak = 2048,
                             .footprint = 0.5,
                             .occupancy = 0.25,
                             .ms_per_token = 2};
  const OrderedJson json = row_json(row);
  CHECK(keys_of(json) == Strings{"policy", "budget", "prefix", "windows", "n", "perplexity",
                                 "bits_per_byte", "kl", "top1", "rows_kept", "bytes_kept",
                                 "bytes_peak", "footprint", "occupancy", "ms_per_token"});
  CHECK(json["windows"] == 2);
  CHECK(json["n"] == 512);
  CHECK(json["top1"] == 0.875);
  const TempDir dir;
  EvalReport({.format = Format::kText, .file = dir / "out"}, perplexity_columns()).add(json);
  CHECK(read_file(dir / "out") ==
        "policy       budget   prefix   scored  perplexity  bits/byte        KL    top-1"
        "        kept        peak  footprint  occupancy  ms/token\n"
        "streaming        64     4096      512      12.346     0.9877   0.01235   87.5 %"
        "       512 B     2.0 KiB      0.500      0.250      2.00\n");
}

}  // namespace
}  // namespace winnow::test
