#include "tests/support/winnow_runs.h"

#include <sstream>

#include "tests/support/spm_model.h"

namespace winnow::test {

TinyDir::TinyDir(TinyModel model, const std::string& more_config) {
  model.vocab_size = kVocabSize;
  write_tiny_model(dir_.path(), model);
  write_file(dir_ / "config.json", tiny_config_json(model, more_config));
  write_file(dir_ / "tokenizer.model", serialize_spm_file(small_spm(pieces())));
}

Words TinyDir::pieces() {
  const std::string space(kSpmSpace);
  return {space + "x", space, "x", "a", "b", "\n"};
}

std::string text_of(int64_t n) {
  std::string text;
  for (int64_t i = 0; i < n; ++i) text += i == 0 ? "x" : " x";
  return text;
}

Words joined(Words first, const Words& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

Words lines_of(const std::string& text) {
  std::istringstream in(text);
  Words lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

OrderedJson json_of(const std::string& text) {
  CAPTURE(text);
  OrderedJson json = OrderedJson::parse(text, nullptr, false);
  REQUIRE_FALSE(json.is_discarded());
  return json;
}

Finished succeed(ProcessSpec spec) {
  Finished run = test::run(std::move(spec));
  CAPTURE(run.err);
  REQUIRE(run.code == 0);
  return run;
}

Finished succeed(Words arguments) {
  return succeed(ProcessSpec{.arguments = std::move(arguments)});
}

OrderedJson json_result(const Words& arguments) {
  return json_of(succeed(joined(arguments, {"--json", "-q"})).out);
}

std::vector<int64_t> KeptRun::rows() const {
  std::vector<int64_t> counts;
  for (const OrderedJson& layer : kept["layers"]) {
    for (const OrderedJson& head : layer["heads"]) {
      counts.push_back(static_cast<int64_t>(head["positions"].size()));
    }
  }
  return counts;
}

KeptRun kept_run(const Words& arguments) {
  const TempDir dir;
  const std::string file = (dir / "kept.json").string();
  OrderedJson json = json_result(joined(arguments, {"--kv-dump", file}));
  return {std::move(json), json_of(read_file(file))};
}

std::string story(int64_t n) {
  const Words who = {"captain", "old man", "doctor", "girl", "king", "soldier", "priest"};
  const Words where = {"house", "river", "ship", "forest", "garden"};
  std::string text;
  for (int64_t i = 0; i < n; ++i) {
    const auto at = static_cast<size_t>(i);
    text += "On day " + std::to_string(i + 1) + " the " + who[at % who.size()] + " went to the " +
            where[at % where.size()] + " and said that the night would be dark. ";
  }
  return text;
}

void check_failure(const Finished& run, int code, std::initializer_list<std::string_view> parts) {
  CAPTURE(run.err);
  CHECK(run.code == code);
  CHECK(run.out.empty());
  const bool refused = code == 2 || code == 3 || code == 7;
  Words lines = lines_of(run.err);
  std::erase_if(lines, [&](const std::string& line) {
    return line.starts_with("winnow: warning: ") || (!refused && !line.starts_with("winnow: "));
  });
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].starts_with("winnow: "));
  for (const std::string_view part : parts) {
    INFO("expected in the message: ", std::string(part));
    CHECK(lines[0].find(part) != std::string::npos);
  }
}

void fails(ProcessSpec spec, int code, std::initializer_list<std::string_view> parts) {
  std::string shown;
  for (const std::string& word : spec.arguments) shown += " " + word.substr(0, 100);
  CAPTURE(shown);
  check_failure(test::run(std::move(spec)), code, parts);
}

void fails(Words arguments, int code, std::initializer_list<std::string_view> parts) {
  fails(ProcessSpec{.arguments = std::move(arguments)}, code, parts);
}

}  // namespace winnow::test
