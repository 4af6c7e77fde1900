#include "src/eval/report.h"

#include <cstdio>
#include <utility>

#include "src/base/format_bytes.h"

namespace winnow {
namespace {

using OrderedJson = nlohmann::ordered_json;

template <class... Values>
std::string formatted(const char* format, Values... values) {
  char text[64];
  std::snprintf(text, sizeof(text), format, values...);
  return text;
}

std::string budget_text(const OrderedJson& row) {
  return row["budget"].is_null() ? "-" : std::to_string(row["budget"].get<int64_t>());
}

std::string percent(const OrderedJson& row, const char* name) {
  return formatted("%.1f %%", 100 * row[name].get<double>());
}

template <int kDigits>
std::string decimal(double x) {
  return formatted("%.*f", kDigits, x);
}

std::string interval_text(const OrderedJson& row) {
  return formatted("%.1f..%.1f", 100 * row["ci95"][0].get<double>(),
                   100 * row["ci95"][1].get<double>());
}

std::string bytes_text(const OrderedJson& row, const char* name) {
  return format_bytes(row[name].get<double>());
}

const Column kPolicy = {"policy", -10,
                        [](const OrderedJson& row) -> std::string { return row["policy"]; }};
const Column kBudget = {"budget", 7, budget_text};
const Column kKept = {"kept", 10,
                      [](const OrderedJson& row) { return bytes_text(row, "bytes_kept"); }};
const Column kPeak = {"peak", 10,
                      [](const OrderedJson& row) { return bytes_text(row, "bytes_peak"); }};
const Column kFootprint = {"footprint", 9,
                           [](const OrderedJson& row) { return decimal<3>(row["footprint"]); }};
const Column kOccupancy = {"occupancy", 9,
                           [](const OrderedJson& row) { return decimal<3>(row["occupancy"]); }};
const Column kSpeed = {"ms/token", 8,
                       [](const OrderedJson& row) { return decimal<2>(row["ms_per_token"]); }};

/// The names and values of a row, an interval as two of them.
std::pair<std::vector<std::string>, std::vector<std::string>> flat(const OrderedJson& row) {
  std::pair<std::vector<std::string>, std::vector<std::string>> all;
  const auto add = [&](const std::string& name, const OrderedJson& value) {
    all.first.push_back(name);
    all.second.push_back(value.is_null()     ? ""
                         : value.is_string() ? value.get<std::string>()
                                             : value.dump());
  };
  for (const auto& [name, value] : row.items()) {
    if (value.is_array()) {
      add(name + "_low", value[0]);
      add(name + "_high", value[1]);
    } else {
      add(name, value);
    }
  }
  return all;
}

/// What both kinds of rows end with.
void add_cost(const auto& row, OrderedJson& json) {
  json["rows_kept"] = row.rows_kept;
  json["bytes_kept"] = row.bytes_kept;
  json["bytes_peak"] = row.bytes_peak;
  json["footprint"] = row.footprint;
  json["occupancy"] = row.occupancy;
  json["ms_per_token"] = row.ms_per_token;
}

}  // namespace

std::string_view question_name(QuestionSeen question) {
  return question == QuestionSeen::kBefore ? "seen" : "unseen";
}

OrderedJson row_json(const EvalRow& row) {
  OrderedJson json;
  json["task"] = row.task;
  json["policy"] = row.policy;
  json["budget"] = row.budget ? OrderedJson(*row.budget) : OrderedJson(nullptr);
  json["question"] = question_name(row.question);
  json["length"] = row.length;
  json["depth"] = row.depth ? OrderedJson(*row.depth) : OrderedJson(nullptr);
  json["n"] = row.n;
  json["accuracy"] = row.accuracy;
  json["ci95"] = {row.ci95.low, row.ci95.high};
  add_cost(row, json);
  return json;
}

OrderedJson row_json(const PerplexityRow& row) {
  OrderedJson json;
  json["policy"] = row.policy;
  json["budget"] = row.budget ? OrderedJson(*row.budget) : OrderedJson(nullptr);
  json["prefix"] = row.prefix;
  json["windows"] = row.windows;
  json["n"] = row.n;
  json["perplexity"] = row.perplexity;
  json["bits_per_byte"] = row.bits_per_byte;
  json["kl"] = row.kl;
  json["top1"] = row.top1;
  add_cost(row, json);
  return json;
}

std::vector<Column> eval_columns() {
  return {{"task", -12, [](const OrderedJson& row) -> std::string { return row["task"]; }},
          kPolicy,
          kBudget,
          {"question", -8, [](const OrderedJson& row) -> std::string { return row["question"]; }},
          {"tokens", 7, [](const OrderedJson& row) { return row["length"].dump(); }},
          {"n", 5, [](const OrderedJson& row) { return row["n"].dump(); }},
          {"accuracy", 8, [](const OrderedJson& row) { return percent(row, "accuracy"); }},
          {"95 %", 12, interval_text},
          kKept,
          kPeak,
          kFootprint,
          kOccupancy,
          kSpeed};
}

std::vector<Column> perplexity_columns() {
  return {kPolicy,
          kBudget,
          {"prefix", 7, [](const OrderedJson& row) { return row["prefix"].dump(); }},
          {"scored", 7, [](const OrderedJson& row) { return row["n"].dump(); }},
          {"perplexity", 10, [](const OrderedJson& row) { return decimal<3>(row["perplexity"]); }},
          {"bits/byte", 9, [](const OrderedJson& row) { return decimal<4>(row["bits_per_byte"]); }},
          {"KL", 8, [](const OrderedJson& row) { return decimal<5>(row["kl"]); }},
          {"top-1", 7, [](const OrderedJson& row) { return percent(row, "top1"); }},
          kKept,
          kPeak,
          kFootprint,
          kOccupancy,
          kSpeed};
}

EvalReport::EvalReport(const OutputOptions& output, std::vector<Column> columns)
    : format_(output.format), out_(output.file), columns_(std::move(columns)) {}

std::vector<TableColumn> EvalReport::table_columns() const {
  return {columns_.begin(), columns_.end()};
}

void EvalReport::add(const OrderedJson& row) {
  if (format_ == Format::kJson) return rows_.push_back(row);
  if (format_ == Format::kJsonl) return out_.write(row.dump() + "\n");
  if (format_ == Format::kCsv) {
    const auto [names, values] = flat(row);
    if (!std::exchange(begun_, true)) out_.write(csv_line(names));
    return out_.write(csv_line(values));
  }
  if (row.contains("depth") && !row["depth"].is_null()) return;
  std::vector<std::string> cells;
  cells.reserve(columns_.size());
  for (const Column& column : columns_) cells.push_back(column.show(row));
  if (!std::exchange(begun_, true)) out_.write(table_head(format_, table_columns()));
  out_.write(table_line(format_, table_columns(), cells));
}

void EvalReport::finish() {
  if (format_ == Format::kJson) out_.write(OrderedJson{{"rows", rows_}}.dump(2) + "\n");
}

}  // namespace winnow
