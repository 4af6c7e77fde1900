#include "src/eval/heat_map.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "src/eval/svg.h"

namespace winnow {
namespace {

constexpr double kLeastWidth = 520;
constexpr double kDepthRoom = 40;  // left of a line of panels, for the depths
constexpr double kCellHeight = 19;
constexpr double kWidestCell = 62;
constexpr double kNarrowestCell = 26;  // holds "100"
constexpr double kCellGap = 1.5;
constexpr double kLeastPanel = 186;  // holds a name and a budget
constexpr double kPanelGap = 16;
constexpr double kNameRoom = 22;    // above the cells
constexpr double kLengthRoom = 30;  // below them, for the lengths and the space to the next line
constexpr int kMostPanels = 4;      // beside each other

constexpr std::string_view kStyle = R"css(.on-light { fill: #000; }
.on-dark { fill: #fff; }
.none { fill: none; stroke: #a39a88; stroke-dasharray: 2 3; }
.scale { shape-rendering: crispEdges; }
@media (prefers-color-scheme: dark) { .none { stroke: #837a68; } }
)css";

struct Color {
  double red, green, blue;  // 0..255, sRGB
};

// Its lightness grows evenly, for eyes that do not tell its hues apart.
constexpr std::array<Color, 5> kScale = {
    {{42, 35, 88}, {50, 88, 140}, {61, 138, 147}, {125, 180, 136}, {230, 221, 154}}};

Color color_of(double share) {
  const double at = std::clamp(share, 0.0, 1.0) * (kScale.size() - 1);
  const auto below = std::min(static_cast<size_t>(at), kScale.size() - 2);
  const double part = at - static_cast<double>(below);
  const auto mix = [part](double a, double b) { return std::round(a + part * (b - a)); };
  const Color& a = kScale[below];
  const Color& b = kScale[below + 1];
  return {mix(a.red, b.red), mix(a.green, b.green), mix(a.blue, b.blue)};
}

std::string hex_of(Color color) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out = "#";
  for (const double part : {color.red, color.green, color.blue}) {
    const auto value = static_cast<size_t>(part);
    out += kDigits[value / 16];
    out += kDigits[value % 16];
  }
  return out;
}

/// Whether black can be read better on it than white: WCAG's contrast of the two, 4.58 at least for
/// the better one.
bool is_light(Color color) {
  const auto linear = [](double part) {
    const double value = part / 255;
    return value <= 0.04045 ? value / 12.92 : std::pow((value + 0.055) / 1.055, 2.4);
  };
  const double luminance =
      0.2126 * linear(color.red) + 0.7152 * linear(color.green) + 0.0722 * linear(color.blue);
  return (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05);
}

/// Tenths of a percent.
int64_t depth_of(const EvalRow& row) {
  return std::llround(1000 * std::clamp(*row.depth, 0.0, 1.0));
}

/// The rows of one task and question.
struct Section {
  std::vector<Rows> panels;      // by policy and budget
  std::vector<int64_t> lengths;  // ascending, each once
  std::vector<int64_t> depths;   // the same
};

std::vector<Section> sections_of(std::span<const EvalRow> rows) {
  Rows used;
  for (const EvalRow& row : rows) {
    if (row.depth && has_result(row)) used.push_back(&row);
  }
  std::vector<Section> sections;
  for (const Rows& group : grouped(used, same_task)) {
    Section section;
    section.panels = grouped(group, [](const EvalRow& a, const EvalRow& b) {
      return a.policy == b.policy && a.budget == b.budget;
    });
    for (const EvalRow* row : group) {
      section.lengths.push_back(row->length);
      section.depths.push_back(depth_of(*row));
    }
    sort_once(section.lengths);
    sort_once(section.depths);
    sections.push_back(std::move(section));
  }
  return sections;
}

/// "50%", or "50.5%" for all where whole percents would make two depths look alike.
std::vector<std::string> depth_labels(const std::vector<int64_t>& depths) {
  std::vector<std::string> labels;
  for (const int decimals : {0, 1}) {
    labels.clear();
    for (const int64_t depth : depths) {
      labels.push_back(fixed_number(static_cast<double>(depth) / 10, decimals) + "%");
    }
    if (std::adjacent_find(labels.begin(), labels.end()) == labels.end()) break;
  }
  return labels;
}

/// How a section's panels stand.
struct Layout {
  int per_line = 1;
  double cell = kWidestCell;  // width
  double panel = kLeastPanel;
};

Layout layout_of(const Section& section) {
  const auto n = static_cast<double>(section.lengths.size());
  double least = kNarrowestCell;
  for (const int64_t length : section.lengths) {
    least = std::max(least, text_width(count_text(length), kTextSize) + 6);
  }
  Layout layout;
  for (layout.per_line = kMostPanels; layout.per_line > 0; --layout.per_line) {
    const double room = kPageWidth - 2 * kMargin - kDepthRoom - (layout.per_line - 1) * kPanelGap;
    layout.cell = std::min(kWidestCell, std::floor(room / layout.per_line / n));
    if (layout.cell >= least) break;
  }
  if (layout.per_line == 0) layout = {.per_line = 1, .cell = std::ceil(least)};
  layout.per_line = std::min(layout.per_line, static_cast<int>(section.panels.size()));
  layout.panel = std::max(kLeastPanel, n * layout.cell);
  return layout;
}

double width_of(const Layout& layout) {
  return 2 * kMargin + kDepthRoom + layout.per_line * (layout.panel + kPanelGap) - kPanelGap;
}

void draw_cell(Svg& svg, Point corner, double width, const EvalRow* row) {
  const Point size = {width - kCellGap, kCellHeight - kCellGap};
  if (row == nullptr) {
    const Point inside = {corner.x + 1, corner.y + 1};
    svg.rect(inside, {size.x - 2, size.y - 2}, "class=\"none\" rx=\"2\"");
    return;
  }
  const Color color = color_of(row->accuracy);
  svg.open("class=\"cell\"");
  svg.tip(row_text(*row));
  svg.rect(corner, size, "rx=\"2\" fill=\"" + hex_of(color) + "\"");
  svg.text({corner.x + size.x / 2, corner.y + size.y / 2 + kToMiddle}, percent_text(row->accuracy),
           is_light(color) ? "class=\"on-light mid\"" : "class=\"on-dark mid\"");
  svg.close();
}

/// One policy and budget, its first cell at `corner`.
void draw_panel(Svg& svg, Point corner, const Section& section, const Layout& layout,
                const Rows& rows) {
  const size_t n_lengths = section.lengths.size();
  const size_t n_depths = section.depths.size();
  const auto index_in = [](const std::vector<int64_t>& values, int64_t value) {
    return static_cast<size_t>(std::lower_bound(values.begin(), values.end(), value) -
                               values.begin());
  };
  Rows cells(n_depths * n_lengths, nullptr);
  for (const EvalRow* row : rows) {
    const size_t down = index_in(section.depths, depth_of(*row));
    cells[down * n_lengths + index_in(section.lengths, row->length)] = row;
  }

  const EvalRow& any = *rows.front();
  const std::string budget =
      any.budget ? " · " + std::to_string(*any.budget) + " rows" : std::string(" · every row");
  const double name_width = layout.panel - text_width(budget, kNameSize);
  svg.text({corner.x, corner.y - 8}, fitted_text(any.policy, kNameSize, name_width) + budget,
           "class=\"name\"");
  for (size_t down = 0; down < n_depths; ++down) {
    for (size_t across = 0; across < n_lengths; ++across) {
      const Point cell = {corner.x + static_cast<double>(across) * layout.cell,
                          corner.y + static_cast<double>(down) * kCellHeight};
      draw_cell(svg, cell, layout.cell, cells[down * n_lengths + across]);
    }
  }
  const double below = corner.y + static_cast<double>(n_depths) * kCellHeight + 13;
  for (size_t i = 0; i < n_lengths; ++i) {
    const double middle = corner.x + static_cast<double>(i) * layout.cell;
    svg.text({middle + (layout.cell - kCellGap) / 2, below}, count_text(section.lengths[i]),
             "class=\"faint mid\"");
  }
}

/// The section from `top` on; gives where it ends.
double draw_section(Svg& svg, double top, double width, const Section& section) {
  const Layout layout = layout_of(section);
  const auto per_line = static_cast<size_t>(layout.per_line);
  const EvalRow& any = *section.panels.front().front();
  const std::string question = " · " + std::string(question_text(any.question));
  const double task_width = width - 2 * kMargin - text_width(question, kHeadSize);
  svg.text({kMargin, top + 14}, fitted_text(any.task, kHeadSize, task_width) + question,
           "class=\"head\"");
  top += 28;
  const std::vector<std::string> labels = depth_labels(section.depths);
  const double cells_height = static_cast<double>(section.depths.size()) * kCellHeight;
  for (size_t i = 0; i < section.panels.size(); ++i) {
    const auto column = static_cast<double>(i % per_line);
    if (i > 0 && i % per_line == 0) top += kNameRoom + cells_height + kLengthRoom;
    const Point corner = {kMargin + kDepthRoom + column * (layout.panel + kPanelGap),
                          top + kNameRoom};
    if (i % per_line == 0) {
      for (size_t down = 0; down < labels.size(); ++down) {
        const double y = corner.y + static_cast<double>(down) * kCellHeight;
        svg.text({corner.x - 8, y + (kCellHeight - kCellGap) / 2 + kToMiddle}, labels[down],
                 "class=\"faint end\"");
      }
    }
    draw_panel(svg, corner, section, layout, section.panels[i]);
  }
  return top + kNameRoom + cells_height + kLengthRoom;
}

void draw_legend(Svg& svg, double top) {
  constexpr double kSlice = 5;
  constexpr int kSlices = 40;
  svg.open("class=\"scale\"");
  for (int i = 0; i < kSlices; ++i) {
    svg.rect({kMargin + i * kSlice, top}, {kSlice, 10},
             "fill=\"" + hex_of(color_of((i + 0.5) / kSlices)) + "\"");
  }
  svg.close();
  for (const int percent : {0, 50, 100}) {
    const double x = kMargin + kSlices * kSlice * percent / 100;
    constexpr std::array<std::string_view, 3> kAnchors = {"class=\"faint\"", "class=\"faint mid\"",
                                                          "class=\"faint end\""};
    svg.text({x, top + 23}, std::to_string(percent) + "%",
             kAnchors[static_cast<size_t>(percent / 50)]);
  }
  const double x = kMargin + kSlices * kSlice + 32;
  svg.rect({x, top - 1}, {28, 13}, "class=\"none\" rx=\"2\"");
  svg.text({x + 36, top + 9}, "not measured", "class=\"faint\"");
}

}  // namespace

std::string heat_map_svg(std::span<const EvalRow> rows, std::string_view title) {
  const std::vector<Section> sections = sections_of(rows);
  if (sections.empty()) return empty_picture(title);
  double width = kLeastWidth;
  for (const Section& section : sections) width = std::max(width, width_of(layout_of(section)));

  Svg svg;
  draw_heading(svg, width, title,
               "Accuracy in % by prompt length in tokens (across) and depth in the text (down)");
  draw_legend(svg, 74);
  double top = 118;
  for (const Section& section : sections) top = draw_section(svg, top, width, section) + 8;
  return svg.document({width, top + kMargin - kLengthRoom + 10}, title, kStyle);
}

}  // namespace winnow
