#include "src/eval/svg.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "src/base/error.h"
#include "src/base/utf8.h"
#include "src/kv/kept_pieces.h"

namespace winnow {
namespace {

// Rules and not variables, which some viewers of SVG do not know.
constexpr std::string_view kPictureStyle = R"css(
text { font: 11px system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif;
  font-variant-numeric: tabular-nums; fill: #28241c; }
.ground { fill: #fffdf8; }
.title { font-size: 17px; font-weight: 600; }
.head { font-size: 13px; font-weight: 600; }
.name { font-size: 12px; font-weight: 600; }
.faint { fill: #6f695d; }
.rule { stroke: #e2dac8; }
.mid { text-anchor: middle; }
.end { text-anchor: end; }
@media (prefers-color-scheme: dark) {
  text { fill: #ece5d6; }
  .ground { fill: #16140f; }
  .faint { fill: #9d9585; }
  .rule { stroke: #38332a; }
}
)css";

std::string tenth(double value) {
  std::string text = fixed_number(value, 1);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text;
}

/// ` x="1" y="2"` for the names "x" and "y".
std::string pair(std::string_view x, std::string_view y, Point value) {
  std::string out;
  out.append(" ").append(x).append("=\"").append(tenth(value.x)).append("\" ");
  out.append(y).append("=\"").append(tenth(value.y)).append("\"");
  return out;
}

/// visible_text on one line. Of a text that it gave, it gives the same.
std::string seen_text(std::string_view text) {
  std::string seen = visible_text(text);
  std::erase(seen, '\n');
  return seen;
}

/// The bytes of the first character of `text`, which is valid UTF-8.
size_t character_length(std::string_view text) {
  return std::max<size_t>(utf8_length(text.substr(0, 4)), 1);
}

/// The width of the first character of `text`, which is valid UTF-8, in ems.
double letter_width(std::string_view text) {
  const char letter = text[0];
  if (std::string_view("fijlrtI.,:;'|!()[]/- ").find(letter) != std::string_view::npos) return 0.4;
  if (std::string_view("mwMW@%").find(letter) != std::string_view::npos) return 0.95;
  if (letter >= 'A' && letter <= 'Z') return 0.72;
  return 0.64 * static_cast<double>(cell_width(front_character(text)));
}

}  // namespace

std::string fixed_number(double value, int decimals) {
  WINNOW_CHECK(std::isfinite(value), "a picture's number");
  std::array<char, 400> digits{};  // the largest double has 309 before the point
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value,
                                 std::chars_format::fixed, decimals);
  WINNOW_CHECK(end.ec == std::errc(), "a picture's number");
  const std::string text(digits.data(), end.ptr);
  const bool is_zero = text.find_first_not_of("-0.") == std::string::npos;
  return is_zero && text.starts_with('-') ? text.substr(1) : text;
}

std::string xml_text(std::string_view text) {
  const std::string seen = seen_text(text);
  std::string out;
  for (std::string_view rest = seen; !rest.empty();) {
    const size_t length = character_length(rest);
    const std::string_view character = rest.substr(0, length);
    switch (rest[0]) {
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '&': out += "&amp;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default:
        // U+FFFE and U+FFFF: the only ones left that no XML document may hold.
        out +=
            character == "\xEF\xBF\xBE" || character == "\xEF\xBF\xBF" ? "\xEF\xBF\xBD" : character;
    }
    rest.remove_prefix(length);
  }
  return out;
}

double text_width(std::string_view text, double size) {
  const std::string seen = seen_text(text);
  double ems = 0;
  for (std::string_view rest = seen; !rest.empty(); rest.remove_prefix(character_length(rest))) {
    ems += letter_width(rest);
  }
  return ems * size;
}

std::string fitted_text(std::string_view text, double size, double width) {
  std::string seen = seen_text(text);
  if (text_width(seen, size) <= width) return seen;
  size_t end = 0;
  double taken = text_width("…", size);
  for (std::string_view rest = seen; !rest.empty();) {
    taken += size * letter_width(rest);
    if (taken > width) break;
    const size_t length = character_length(rest);
    end += length;
    rest.remove_prefix(length);
  }
  seen.resize(end);
  return seen + "…";
}

void Svg::element(std::string_view name, std::string_view geometry, std::string_view attributes) {
  body_.append("<").append(name).append(geometry);
  if (!attributes.empty()) body_.append(" ").append(attributes);
  body_ += "/>\n";
}

void Svg::open(std::string_view attributes) {
  body_ += "<g";
  if (!attributes.empty()) body_.append(" ").append(attributes);
  body_ += ">\n";
  ++n_open_;
}

void Svg::close() {
  WINNOW_CHECK(n_open_ > 0, "a group is closed that is not open");
  --n_open_;
  body_ += "</g>\n";
}

void Svg::tip(std::string_view text) {
  body_.append("<title>").append(xml_text(text)).append("</title>\n");
}

void Svg::rect(Point corner, Point size, std::string_view attributes) {
  element("rect", pair("x", "y", corner) + pair("width", "height", size), attributes);
}

void Svg::line(Point from, Point to, std::string_view attributes) {
  element("line", pair("x1", "y1", from) + pair("x2", "y2", to), attributes);
}

void Svg::polyline(std::span<const Point> points, std::string_view attributes) {
  std::string list;
  for (const Point& point : points) {
    if (!list.empty()) list += ' ';
    list.append(tenth(point.x)).append(",").append(tenth(point.y));
  }
  element("polyline", " points=\"" + list + "\"", attributes);
}

void Svg::shape(Point center, std::string_view outline, std::string_view attributes) {
  std::string path = " d=\"M" + tenth(center.x) + " " + tenth(center.y);
  path.append(outline).append("\"");
  element("path", path, attributes);
}

void Svg::text(Point at, std::string_view words, std::string_view attributes) {
  body_.append("<text").append(pair("x", "y", at));
  if (!attributes.empty()) body_.append(" ").append(attributes);
  body_.append(">").append(xml_text(words)).append("</text>\n");
}

std::string Svg::document(Point size, std::string_view title, std::string_view style) const {
  WINNOW_CHECK(n_open_ == 0, "a group is left open");
  const std::string extent = pair("width", "height", size);
  std::string out = "<svg xmlns=\"http://www.w3.org/2000/svg\"" + extent + " viewBox=\"0 0 " +
                    tenth(size.x) + " " + tenth(size.y) + "\" role=\"img\">\n";
  out.append("<title>").append(xml_text(title)).append("</title>\n");
  out.append("<style>").append(kPictureStyle).append(style).append("</style>\n");
  out.append("<rect").append(extent).append(" rx=\"6\" class=\"ground\"/>\n");
  return out.append(body_).append("</svg>\n");
}

void draw_heading(Svg& svg, double width, std::string_view title, std::string_view below) {
  svg.text({kMargin, 38}, fitted_text(title, kTitleSize, width - 2 * kMargin), "class=\"title\"");
  svg.text({kMargin, 58}, below, "class=\"faint\"");
}

std::string empty_picture(std::string_view title) {
  constexpr Point kSize = {480, 84};
  Svg svg;
  draw_heading(svg, kSize.x, title, "no rows");
  return svg.document(kSize, title, {});
}

bool has_result(const EvalRow& row) {
  return row.n > 0 && std::isfinite(row.accuracy) && std::isfinite(row.ci95.low) &&
         std::isfinite(row.ci95.high) && std::isfinite(row.depth.value_or(0));
}

std::vector<Rows> grouped(const Rows& rows, bool (*same)(const EvalRow&, const EvalRow&)) {
  std::vector<Rows> groups;
  for (const EvalRow* row : rows) {
    const auto group = std::find_if(groups.begin(), groups.end(), [&](const Rows& candidate) {
      return same(*candidate.front(), *row);
    });
    if (group == groups.end()) {
      groups.push_back({row});
    } else {
      group->push_back(row);
    }
  }
  return groups;
}

bool same_task(const EvalRow& a, const EvalRow& b) {
  return a.task == b.task && a.question == b.question;
}

void sort_once(std::vector<int64_t>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

std::string percent_text(double share) {
  if (share <= 0) return "0";
  if (share >= 1) return "100";
  return fixed_number(std::clamp(std::round(100 * share), 1.0, 99.0), 0);
}

std::string count_text(int64_t count) {
  return count != 0 && count % 1024 == 0 ? std::to_string(count / 1024) + "K"
                                         : std::to_string(count);
}

std::string_view question_text(QuestionSeen question) {
  return question == QuestionSeen::kBefore ? "question read with the text"
                                           : "question read after rows were dropped";
}

std::string row_text(const EvalRow& row) {
  const auto percent = [](double share) { return fixed_number(100 * share, 1) + "%"; };
  std::string text = row.policy + ", ";
  text += row.budget ? std::to_string(*row.budget) + " rows per head, " : "every row, ";
  text += std::to_string(row.length) + " tokens, ";
  if (row.depth) text += "depth " + percent(*row.depth) + ", ";
  text += std::to_string(row.n) + (row.n == 1 ? " sample: " : " samples: ");
  return text + percent(row.accuracy) + " (95% interval " + percent(row.ci95.low) + " to " +
         percent(row.ci95.high) + ")";
}

}  // namespace winnow
