#include "src/eval/budget_plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "src/base/format_bytes.h"
#include "src/eval/svg.h"

namespace winnow {
namespace {

constexpr double kPercentRoom = 38;  // left of a line of panels
constexpr double kNameRoom = 42;     // above a plot: its name and its question
constexpr double kBudgetRoom = 60;   // below it, with the space to the next line
constexpr double kPanelGap = 22;
constexpr double kWidestLabel = 64;  // right of a plot
constexpr double kWidestName = 190;  // in the legend
constexpr double kInset = 14;        // from a plot's sides to its outermost markers
constexpr double kApart = 4;         // policies of one budget
constexpr double kLineHeight = 13;

constexpr size_t kColors = 8;

// Each colour's contrast with its ground is 3 or more, and any two of a palette can be told apart
// with each of the three kinds of colour blindness.
constexpr std::string_view kStyle = R"css(.s0 { color: #213a98; }
.s1 { color: #b34a0e; }
.s2 { color: #0b816e; }
.s3 { color: #831256; }
.s4 { color: #ad8810; }
.s5 { color: #0098d2; }
.s6 { color: #7b56c1; }
.s7 { color: #0e3a00; }
.path { fill: none; stroke: currentColor; stroke-width: 1.5; stroke-linejoin: round; }
.dashed { stroke-dasharray: 5 3; }
.bar { stroke: currentColor; stroke-width: 1.5; opacity: .45; }
.mark { fill: currentColor; stroke: #fffdf8; stroke-width: 2; paint-order: stroke; }
.hollow { fill: #fffdf8; stroke: currentColor; stroke-width: 1.5; paint-order: normal; }
.whole { stroke: #28241c; stroke-width: 1.25; }
.band { fill: #28241c; opacity: .09; }
@media (prefers-color-scheme: dark) {
  .s0 { color: #4a70dc; }
  .s1 { color: #de640e; }
  .s2 { color: #00ae95; }
  .s3 { color: #a84f80; }
  .s4 { color: #e8b406; }
  .s5 { color: #78d5ff; }
  .s6 { color: #b187ff; }
  .s7 { color: #b2ff9c; }
  .mark { stroke: #16140f; }
  .hollow { fill: #16140f; stroke: currentColor; }
  .whole { stroke: #ece5d6; }
  .band { fill: #ece5d6; opacity: .13; }
}
)css";

// Drawn from the middle: disc, square, triangle, diamond, triangle, plus, cross, star.
constexpr std::array<std::string_view, 8> kShapes = {
    "m-4.2 0a4.2 4.2 0 1 0 8.4 0a4.2 4.2 0 1 0-8.4 0z",
    "m-3.8-3.8h7.6v7.6h-7.6z",
    "m0-5.2l4.8 8.4h-9.6z",
    "m0-5.6l4.6 5.6-4.6 5.6-4.6-5.6z",
    "m0 5.2l4.8-8.4h-9.6z",
    "m-1.7-5h3.4v3.3h3.3v3.4h-3.3v3.3h-3.4v-3.3h-3.3v-3.4h3.3z",
    "m0-2l2.8-2.8 2 2-2.8 2.8 2.8 2.8-2 2-2.8-2.8-2.8 2.8-2-2 2.8-2.8-2.8-2.8 2-2z",
    "m0-5.5l1.5 3.8 4 .2-3.1 2.6 1 3.9-3.4-2.2-3.4 2.2 1-3.9-3.1-2.6 4-.2z"};

/// What is drawn, in its order.
struct Content {
  std::vector<Rows> panels;           // by task, question and length
  std::vector<std::string> policies;  // of rows with a budget: the n-th has the n-th look
  std::vector<std::string> whole;     // of rows without one
  PlotBy by = PlotBy::kBudget;
  std::vector<int64_t> ticks;  // of the axis, ascending: the budgets, each once
};

/// Where a row stands on the axis, in whole numbers: rows, hundredths of a percent, or KiB.
int64_t place_of(const EvalRow& row, PlotBy by) {
  switch (by) {
    case PlotBy::kFootprint: return std::llround(row.footprint * 1e4);
    case PlotBy::kPeak: return std::llround(row.bytes_peak / 1024);
    default: return *row.budget;
  }
}

std::string tick_text(int64_t place, PlotBy by) {
  switch (by) {
    case PlotBy::kFootprint: return std::to_string(place / 100) + "%";
    case PlotBy::kPeak: return format_bytes(static_cast<uint64_t>(place) * 1024);
    default: return count_text(place);
  }
}

std::string_view axis_text(PlotBy by) {
  switch (by) {
    case PlotBy::kFootprint: return "KV footprint, of a full cache's";
    case PlotBy::kPeak: return "peak of cache and layer scratch";
    default: return "rows of a KV head";
  }
}

/// 1, 2, 5, 10, ... percent, or powers of 2, from the last below the least place to the first
/// above the greatest.
std::vector<int64_t> even_ticks(const std::vector<int64_t>& places, PlotBy by) {
  std::vector<int64_t> ticks;
  if (places.empty()) return ticks;
  constexpr std::array<int64_t, 3> kSteps = {1, 2, 5};
  for (size_t i = 0; ticks.empty() || ticks.back() < places.back(); ++i) {
    int64_t tick = int64_t{1} << i;
    if (by == PlotBy::kFootprint) {
      tick = 100 * kSteps[i % 3];
      for (size_t power = 0; power < i / 3; ++power) tick *= 10;
    }
    if (tick <= places.front()) ticks.clear();
    ticks.push_back(tick);
  }
  return ticks;
}

bool same_length(const EvalRow& a, const EvalRow& b) {
  return a.length == b.length;
}

Content content_of(std::span<const EvalRow> rows, PlotBy by) {
  Content content;
  content.by = by;
  Rows used;
  for (const EvalRow& row : rows) {
    if (row.depth || !has_result(row)) continue;
    used.push_back(&row);
    std::vector<std::string>& names = row.budget ? content.policies : content.whole;
    if (std::find(names.begin(), names.end(), row.policy) == names.end()) {
      names.push_back(row.policy);
    }
    if (row.budget) content.ticks.push_back(place_of(row, by));
  }
  sort_once(content.ticks);
  if (by != PlotBy::kBudget) content.ticks = even_ticks(content.ticks, by);
  for (Rows& task : grouped(used, same_task)) {
    std::stable_sort(task.begin(), task.end(),
                     [](const EvalRow* a, const EvalRow* b) { return a->length < b->length; });
    for (Rows& panel : grouped(task, same_length)) content.panels.push_back(std::move(panel));
  }
  return content;
}

/// The looks of the n-th policy.
std::string group_of(size_t n) {
  return "class=\"s" + std::to_string(n % kColors) + "\"";
}
bool is_second_round(size_t n) {
  return n / kShapes.size() % 2 == 1;
}

/// Where numbers stand in a plot; the same in all of them, but for the corner.
struct Axes {
  Point corner;  // top left
  Point size;
  double least = 0;  // log2 of the budgets
  double most = 0;
  double inset = kInset;
  double apart = 0;  // policies of one budget
  size_t n_policies = 0;

  double bottom() const { return corner.y + size.y; }
  double right() const { return corner.x + size.x; }

  double x(int64_t budget) const {
    const double part = most > least ? (log_of(budget) - least) / (most - least) : 0.5;
    return corner.x + inset + part * (size.x - 2 * inset);
  }
  double x(int64_t budget, size_t policy) const {
    const double middle = (static_cast<double>(n_policies) - 1) / 2;
    return x(budget) + apart * (static_cast<double>(policy) - middle);
  }
  double y(double share) const { return corner.y + (1 - std::clamp(share, 0.0, 1.0)) * size.y; }

  static double log_of(int64_t budget) {
    return std::log2(static_cast<double>(std::max<int64_t>(budget, 1)));
  }
};

/// How the panels stand.
struct Layout {
  size_t per_line = 3;
  double label_room = 0;  // right of each plot
  Point plot;
};

Layout layout_of(const Content& content) {
  constexpr std::array<double, 3> kHeights = {340, 280, 230};
  Layout layout;
  const size_t n = content.panels.size();
  if (n == 1) layout.per_line = 1;
  if (n == 2 || n == 4) layout.per_line = 2;
  for (const std::string& name : content.whole) {
    const double width = text_width(fitted_text(name, kTextSize, kWidestLabel), kTextSize) + 6;
    layout.label_room = std::max(layout.label_room, width);
  }
  const auto columns = static_cast<double>(layout.per_line);
  const double room = kPageWidth - 2 * kMargin - kPercentRoom - (columns - 1) * kPanelGap;
  layout.plot = {std::floor(room / columns) - layout.label_room, kHeights[layout.per_line - 1]};
  return layout;
}

/// Axes of a plot at (0, 0). All policies of one budget take kTogether of the smallest step to the
/// next budget, and stand at most kApart from each other:
///
///   n apart = kTogether step      step = share (width - 2 kInset - (n - 1) apart)
Axes axes_of(const Content& content, const Layout& layout) {
  constexpr double kTogether = 0.7;
  constexpr double kLeastStep = 0.5;  // smaller ones would put the policies on top of each other
  Axes axes;
  axes.size = layout.plot;
  axes.n_policies = content.policies.size();
  if (content.ticks.empty()) return axes;
  axes.least = Axes::log_of(content.ticks.front());
  axes.most = Axes::log_of(content.ticks.back());
  double share = 1;  // of the axis: the smallest step
  for (size_t i = 1; i < content.ticks.size(); ++i) {
    const double step = Axes::log_of(content.ticks[i]) - Axes::log_of(content.ticks[i - 1]);
    if (step >= kLeastStep) share = std::min(share, step / (axes.most - axes.least));
  }
  if (content.by != PlotBy::kBudget) return axes;
  const auto n = static_cast<double>(axes.n_policies);
  const double part = kTogether * share;
  axes.apart = std::min(kApart, part * (axes.size.x - 2 * kInset) / (n + part * (n - 1)));
  axes.inset = kInset + axes.apart * (n - 1) / 2;
  return axes;
}

void draw_grid(Svg& svg, const Axes& axes, const Content& content, bool with_percents) {
  for (const int percent : {0, 25, 50, 75, 100}) {
    const double y = axes.y(percent / 100.0);
    svg.line({axes.corner.x, y}, {axes.right(), y}, "class=\"rule\"");
    if (!with_percents) continue;
    svg.text({axes.corner.x - 8, y + kToMiddle}, std::to_string(percent) + "%",
             "class=\"faint end\"");
  }
  double free_from = 0;  // where a label may begin
  for (const int64_t budget : content.ticks) {
    const double x = axes.x(budget);
    svg.line({x, axes.bottom()}, {x, axes.bottom() + 4}, "class=\"rule\"");
    const std::string label = tick_text(budget, content.by);
    const double half = text_width(label, kTextSize) / 2;
    if (x - half < free_from) continue;
    svg.text({x, axes.bottom() + 19}, label, "class=\"faint mid\"");
    free_from = x + half + 6;
  }
  if (content.ticks.empty()) return;
  svg.text({axes.corner.x + axes.size.x / 2, axes.bottom() + 35}, axis_text(content.by),
           "class=\"faint mid\"");
}

/// The rows without a budget.
void draw_whole(Svg& svg, const Axes& axes, const Rows& panel) {
  Rows rows;
  for (const EvalRow* row : panel) {
    if (!row->budget) rows.push_back(row);
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const EvalRow* a, const EvalRow* b) { return a->accuracy > b->accuracy; });
  double free_from = 0;  // where a label's baseline may be
  for (const EvalRow* row : rows) {
    const double y = axes.y(row->accuracy);
    const double top = axes.y(row->ci95.high);
    svg.open();
    svg.tip(row_text(*row));
    svg.rect({axes.corner.x, top}, {axes.size.x, std::max(axes.y(row->ci95.low) - top, 0.0)},
             "class=\"band\"");
    svg.line({axes.corner.x, y}, {axes.right(), y}, "class=\"whole\"");
    const double label_y = std::max(y + kToMiddle, free_from);
    svg.text({axes.right() + 6, label_y}, fitted_text(row->policy, kTextSize, kWidestLabel), {});
    free_from = label_y + kLineHeight;
    svg.close();
  }
}

/// The marker of the n-th policy.
void draw_marker(Svg& svg, Point at, size_t n) {
  svg.shape(at, kShapes[n % kShapes.size()],
            is_second_round(n) ? "class=\"mark hollow\"" : "class=\"mark\"");
}

/// The n-th policy's rows.
void draw_policy(Svg& svg, const Axes& axes, const Content& content, const Rows& panel, size_t n) {
  Rows rows;
  for (const EvalRow* row : panel) {
    if (row->budget && row->policy == content.policies[n]) rows.push_back(row);
  }
  if (rows.empty()) return;
  std::stable_sort(rows.begin(), rows.end(),
                   [](const EvalRow* a, const EvalRow* b) { return *a->budget < *b->budget; });
  std::vector<Point> points;
  for (const EvalRow* row : rows) {
    points.push_back({axes.x(place_of(*row, content.by), n), axes.y(row->accuracy)});
  }
  svg.open(group_of(n));
  if (points.size() > 1) {
    svg.polyline(points, is_second_round(n) ? "class=\"path dashed\"" : "class=\"path\"");
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    const double x = points[i].x;
    svg.open();
    svg.tip(row_text(*rows[i]));
    svg.line({x, axes.y(rows[i]->ci95.low)}, {x, axes.y(rows[i]->ci95.high)}, "class=\"bar\"");
    draw_marker(svg, points[i], n);
    svg.close();
  }
  svg.close();
}

void draw_panel(Svg& svg, const Axes& axes, const Content& content, const Rows& panel,
                bool with_percents) {
  const EvalRow& any = *panel.front();
  const std::string length = " · " + count_text(any.length) + " tokens";
  const double task_width = axes.size.x - text_width(length, kNameSize);
  svg.text({axes.corner.x, axes.corner.y - 27},
           fitted_text(any.task, kNameSize, task_width) + length, "class=\"name\"");
  svg.text({axes.corner.x, axes.corner.y - 12}, question_text(any.question), "class=\"faint\"");
  draw_grid(svg, axes, content, with_percents);
  draw_whole(svg, axes, panel);
  for (size_t n = 0; n < content.policies.size(); ++n) draw_policy(svg, axes, content, panel, n);
}

/// The policies' names beside their looks, from `top` on; gives where the last line ends.
double draw_legend(Svg& svg, double top, const Content& content) {
  constexpr double kSample = 26;
  Point at = {kMargin, top};
  const auto place = [&](const std::string& name, const std::string& note) {
    const std::string shown = fitted_text(name, kTextSize, kWidestName) + note;
    const double width = kSample + 6 + text_width(shown, kTextSize) + 14;
    if (at.x + width > kPageWidth - kMargin && at.x > kMargin) at = {kMargin, at.y + 19};
    svg.text({at.x + kSample + 6, at.y + kToMiddle}, shown, {});
    const Point from = at;
    at.x += width;
    return from;
  };
  for (size_t n = 0; n < content.policies.size(); ++n) {
    const Point from = place(content.policies[n], "");
    svg.open(group_of(n));
    svg.polyline(std::array{from, Point{from.x + kSample, from.y}},
                 is_second_round(n) ? "class=\"path dashed\"" : "class=\"path\"");
    draw_marker(svg, {from.x + kSample / 2, from.y}, n);
    svg.close();
  }
  for (const std::string& name : content.whole) {
    const Point from = place(name, ", every row");
    svg.rect({from.x, from.y - 5}, {kSample, 10}, "class=\"band\"");
    svg.line(from, {from.x + kSample, from.y}, "class=\"whole\"");
  }
  return at.y + 8;
}

}  // namespace

std::string budget_plot_svg(std::span<const EvalRow> rows, std::string_view title) {
  return cost_plot_svg(rows, title, PlotBy::kBudget);
}

std::string cost_plot_svg(std::span<const EvalRow> rows, std::string_view title, PlotBy by) {
  const Content content = content_of(rows, by);
  if (content.panels.empty()) return empty_picture(title);
  const Layout layout = layout_of(content);
  Axes axes = axes_of(content, layout);

  Svg svg;
  draw_heading(svg, kPageWidth, title,
               std::string("Accuracy by ") + (by == PlotBy::kBudget ? "budget" : "cost") +
                   "; bars and bands show 95% intervals");
  double top = draw_legend(svg, 82, content) + 18;
  const double pitch = layout.plot.x + layout.label_room + kPanelGap;
  for (size_t i = 0; i < content.panels.size(); ++i) {
    const size_t column = i % layout.per_line;
    if (i > 0 && column == 0) top += kNameRoom + layout.plot.y + kBudgetRoom;
    axes.corner = {kMargin + kPercentRoom + static_cast<double>(column) * pitch, top + kNameRoom};
    draw_panel(svg, axes, content, content.panels[i], column == 0);
  }
  return svg.document({kPageWidth, top + kNameRoom + layout.plot.y + kBudgetRoom}, title, kStyle);
}

}  // namespace winnow
