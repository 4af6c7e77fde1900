// Accuracy by where in the text the answer stands, and how long the text is.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "src/eval/row.h"

namespace winnow {

/// An SVG picture of the rows that have a depth, in the order in which the rows bring them up:
///
///   task, question            a section
///     policy, budget          a panel          sage · 512 rows
///                                          0%  [100][ 98][ 97]
///                                         50%  [ 95][ 91][ -- ]   <- no row: an empty frame
///                                        100%  [100][100][100]
///                                                4K   8K  16K
///
/// All panels of a section have its lengths, ascending, and its depths, from the text's start down;
/// depths are told apart to a tenth of a percent. A cell says its percentage, and all of its row
/// when it is pointed at. Of several rows of one cell the last is shown; rows without samples or
/// with numbers that are not finite are left out. Up to 4 panels stand beside each other, fewer
/// where many lengths would make the cells too narrow to read. Without any cell: empty_picture.
std::string heat_map_svg(std::span<const EvalRow> rows, std::string_view title);

}  // namespace winnow
