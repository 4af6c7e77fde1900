#include "src/cli/table.h"

#include <algorithm>
#include <cstdlib>

namespace winnow {
namespace {

/// What keeps `text` one cell of a table for people.
std::string cell_text(const std::string& text, bool markdown) {
  std::string cell;
  for (const char c : text) {
    if (markdown && c == '|') cell += '\\';
    cell += c == '\n' || c == '\r' || c == '\t' ? ' ' : c;
  }
  return cell;
}

/// Characters of valid UTF-8: the bytes that begin one.
size_t characters(const std::string& text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (c & 0xc0) != 0x80; }));
}

}  // namespace

std::string csv_line(const std::vector<std::string>& cells) {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) {
    const std::string& cell = cells[i];
    if (i > 0) line += ',';
    if (cell.find_first_of(",\"\r\n") == std::string::npos) {
      line += cell;
      continue;
    }
    line += '"';
    for (const char c : cell) line += c == '"' ? std::string("\"\"") : std::string(1, c);
    line += '"';
  }
  return line + "\n";
}

std::string table_line(Format format, const std::vector<TableColumn>& columns,
                       const std::vector<std::string>& cells) {
  if (format == Format::kCsv) return csv_line(cells);
  const bool markdown = format == Format::kMarkdown;
  std::string line = markdown ? "|" : "";
  for (size_t i = 0; i < cells.size(); ++i) {
    const std::string cell = cell_text(cells[i], markdown);
    const auto width = static_cast<size_t>(std::abs(columns[i].width));
    const std::string space(width - std::min(width, characters(cell)), ' ');
    if (markdown) {
      line += " " + cell + " |";
    } else {
      if (i > 0) line += "  ";
      line += columns[i].width < 0 ? cell + space : space + cell;
    }
  }
  return line + "\n";
}

std::string table_head(Format format, const std::vector<TableColumn>& columns) {
  std::vector<std::string> titles, rule;
  for (const TableColumn& column : columns) {
    titles.emplace_back(column.title);
    rule.emplace_back(column.width < 0 ? "---" : "--:");
  }
  const std::string head = table_line(format, columns, titles);
  return format == Format::kMarkdown ? head + table_line(format, columns, rule) : head;
}

}  // namespace winnow
