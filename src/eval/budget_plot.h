// Accuracy by budget, or by what the cache costs: what each method keeps of it as the cache
// shrinks.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "src/eval/row.h"

namespace winnow {

/// What the axis says of a row with a budget.
enum class PlotBy {
  kBudget,     // rows of a KV head
  kFootprint,  // EvalRow::footprint
  kPeak,       // EvalRow::bytes_peak
};

/// An SVG picture of the rows that have no depth: a panel for each task, question and length, the
/// first two in the order in which the rows bring them up, the lengths ascending.
///
///   100% |_ _ _ _ _ _ _ _ _ _ full     a row without a budget: a line, its interval a band
///        |        |        o
///    50% |   |    o------- |           a line for each policy, with its own colour and marker,
///        |   o---              |       and bars for the intervals
///     0% |___________________________
///           256  512       2K  4K      rows of a KV head, each step of a factor 2 as wide
///
/// By footprint or peak the axis is a logarithm, too, and each marker stands where its row is.
///
/// All panels have the same axes. Policies stand a little beside each other, so that none hides
/// another's bar. The first 8 have filled markers, the next 8 hollow ones and dashed lines, and the
/// 17th looks like the first. A marker says all of its row when it is pointed at. Rows without
/// samples or with numbers that are not finite are left out. Without any row: empty_picture.
std::string budget_plot_svg(std::span<const EvalRow> rows, std::string_view title);

/// The same by what `by` says.
std::string cost_plot_svg(std::span<const EvalRow> rows, std::string_view title, PlotBy by);

}  // namespace winnow
