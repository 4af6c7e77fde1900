// Tables: lines of text in columns, Markdown, or CSV.
#pragma once

#include <string>
#include <vector>

#include "src/cli/options.h"

namespace winnow {

struct TableColumn {
  const char* title;
  int width;  // in text, in characters; under 0: set to the left
};

/// A line of CSV. What holds a comma, a quote or a line break is quoted (RFC 4180).
std::string csv_line(const std::vector<std::string>& cells);

/// The cells of a row in their columns, as text, Markdown or CSV. In the first two, what would
/// break a cell becomes a space, and Markdown's bars are escaped.  cells [columns.size()]
std::string table_line(Format format, const std::vector<TableColumn>& columns,
                       const std::vector<std::string>& cells);

/// What stands above the rows: the titles, and Markdown's rule.
std::string table_head(Format format, const std::vector<TableColumn>& columns);

}  // namespace winnow
