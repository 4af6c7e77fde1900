// SVG as text, and the groups of rows and the words that the pictures of an evaluation share.
//
// A picture is one <svg> element that needs nothing else: no script, no font, no address. It can be
// shown by itself or as an image of a page, and its colours follow prefers-color-scheme. Lengths
// are CSS pixels, y grows downwards, and the same calls give the same bytes in every locale.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/eval/row.h"

namespace winnow {

struct Point {
  double x = 0;
  double y = 0;
};

/// `value`, which is finite, with that many decimals. What rounds to nothing has no sign.
std::string fixed_number(double value, int decimals);

/// `text` as it may stand between tags or in quotes: visible_text of it on one line, with entities
/// for what means something to XML, and U+FFFD for the characters that XML does not have.
std::string xml_text(std::string_view text);

inline constexpr double kPageWidth = 900;  // of a README; a picture is wider only where it must
inline constexpr double kMargin = 24;
inline constexpr double kToMiddle = 4;  // from the middle of a line of text to its baseline

// Sizes of letters, as far as widths go: bold ones are an eighth wider.
inline constexpr double kTextSize = 11;
inline constexpr double kNameSize = 12 * 1.125;   // class "name"
inline constexpr double kHeadSize = 13 * 1.125;   // class "head"
inline constexpr double kTitleSize = 17 * 1.125;  // class "title"

/// The width that `text` takes in letters of `size` pixels: a guess, rather too wide, because the
/// fonts are the reader's.
double text_width(std::string_view text, double size);

/// `text` as it is seen, the end replaced by "…" where it would be wider than `width`.
std::string fitted_text(std::string_view text, double size, double width);

/// Elements, each drawn over those before it. `attributes` stand in the tag as they are. Points are
/// rounded to a tenth of a pixel.
class Svg {
 public:
  /// Opens and closes a group of elements.
  void open(std::string_view attributes = {});
  void close();

  /// What the open group says when it is pointed at. Comes first in it.
  void tip(std::string_view text);

  void rect(Point corner, Point size, std::string_view attributes);
  void line(Point from, Point to, std::string_view attributes);
  void polyline(std::span<const Point> points, std::string_view attributes);

  /// A shape around `center`, whose outline is drawn by relative path commands.
  void shape(Point center, std::string_view outline, std::string_view attributes);

  /// Text that starts at `at` on its baseline; classes "mid" and "end" centre it there or end it.
  void text(Point at, std::string_view words, std::string_view attributes);

  /// The document: the ground, then the elements. `style` is CSS beyond that of all pictures.
  /// Every group is closed.
  std::string document(Point size, std::string_view title, std::string_view style) const;

 private:
  void element(std::string_view name, std::string_view geometry, std::string_view attributes);

  std::string body_;
  int n_open_ = 0;
};

/// The title and a line below it, of a picture of that width. Ends 64 pixels from the top.
void draw_heading(Svg& svg, double width, std::string_view title, std::string_view below);

/// A picture that says "no rows" under its title.
std::string empty_picture(std::string_view title);

/// Whether there is something to draw: samples were taken, and the numbers are finite.
bool has_result(const EvalRow& row);

using Rows = std::vector<const EvalRow*>;

/// Puts each row to those that are the same to its first one. Groups and rows stay in the order of
/// first appearance; no group is empty.
std::vector<Rows> grouped(const Rows& rows, bool (*same)(const EvalRow&, const EvalRow&));

/// Of one task and question.
bool same_task(const EvalRow& a, const EvalRow& b);

/// Sorts, and leaves each value once.
void sort_once(std::vector<int64_t>& values);

/// "97": `share` of 1 in whole percent. "100" and "0" are all and nothing, and never rounded.
std::string percent_text(double share);

/// "4K" for multiples of 1024, else the number.
std::string count_text(int64_t count);

std::string_view question_text(QuestionSeen question);

/// "sage, 512 rows per head, 4096 tokens, depth 50.0%, 40 samples: 97.5% (95% interval 86.8% to
/// 99.9%)"; without the depth where the row has none.
std::string row_text(const EvalRow& row);

}  // namespace winnow
