// The rows of an evaluation as text, Markdown, CSV or JSON, each written as soon as it is known.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "src/cli/options.h"
#include "src/cli/output.h"
#include "src/cli/table.h"
#include "src/eval/perplexity.h"
#include "src/eval/row.h"

namespace winnow {

/// "seen", "unseen".
std::string_view question_name(QuestionSeen question);

/// A row with all that it says, under the names that JSON and CSV give it.
nlohmann::ordered_json row_json(const EvalRow& row);
nlohmann::ordered_json row_json(const PerplexityRow& row);

/// A column of a table for people, and what it shows of a row.
struct Column : TableColumn {
  std::string (*show)(const nlohmann::ordered_json& row);
};

/// The columns of each kind of row.
std::vector<Column> eval_columns();
std::vector<Column> perplexity_columns();

class EvalReport {
 public:
  /// Opens the output. Fails with kIo.
  EvalReport(const OutputOptions& output, std::vector<Column> columns);

  /// Text and Markdown leave out rows of a single depth: a picture shows them better. JSON is one
  /// document, {"rows": [...]}, which finish() writes. Fails with kIo.
  void add(const nlohmann::ordered_json& row);
  void finish();

 private:
  std::vector<TableColumn> table_columns() const;

  Format format_;
  Output out_;
  std::vector<Column> columns_;
  bool begun_ = false;
  nlohmann::ordered_json rows_ = nlohmann::ordered_json::array();
};

}  // namespace winnow
