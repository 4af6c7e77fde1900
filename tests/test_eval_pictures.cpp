// The pictures of an evaluation, read back as XML by a reader that is stricter than a browser's.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "src/base/error.h"
#include "src/base/utf8.h"
#include "src/eval/budget_plot.h"
#include "src/eval/heat_map.h"
#include "src/eval/svg.h"

using namespace winnow;

namespace {

struct Element {
  std::string name;
  std::map<std::string, std::string> attributes;
  std::string text;  // its own, entities resolved
  size_t parent = 0;

  double number(const std::string& attribute) const { return std::stod(attributes.at(attribute)); }
  bool is(const std::string& element, const std::string& word) const {
    const std::string classes = attributes.contains("class") ? attributes.at("class") : "";
    return name == element && classes.find(word) != std::string::npos;
  }
};

using Elements = std::vector<Element>;

void need(bool condition) {
  if (!condition) throw std::runtime_error("no XML");
}

/// Text with its entities resolved: the five that the pictures use.
std::string resolved(std::string text) {
  const std::map<std::string, char> entities = {
      {"&lt;", '<'}, {"&gt;", '>'}, {"&amp;", '&'}, {"&quot;", '"'}, {"&#39;", '\''}};
  need(text.find('>') == std::string::npos);
  for (size_t at = 0; (at = text.find('&', at)) != std::string::npos; ++at) {
    const size_t length = text.find(';', at) + 1 - at;
    const auto entity = entities.find(text.substr(at, length));
    need(entity != entities.end());
    text.replace(at, length, 1, entity->second);
  }
  return text;
}

/// The elements of a document in the order of their start tags, the root first. Throws for anything
/// but elements, quoted attributes and text.
Elements read_xml(const std::string& text) {
  static const std::regex kTag(R"re(<(/?)(\w+)((?: [\w:-]+="[^"<]*")*)(/?)>)re");
  static const std::regex kAttribute(R"re( ([\w:-]+)="([^"]*)")re");
  need(utf8_find_invalid(text) == std::string::npos);
  for (const char c : text) need(static_cast<unsigned char>(c) >= 0x20 || c == '\n');
  for (const char* const c : {"\uFFFE", "\uFFFF"}) need(text.find(c) == std::string::npos);
  Elements elements;
  std::vector<size_t> open;
  size_t at = 0;
  while (true) {
    std::smatch tag;
    const auto here = text.begin() + static_cast<std::ptrdiff_t>(at);
    need(std::regex_search(here, text.end(), tag, kTag, std::regex_constants::match_continuous));
    if (tag.length(1) > 0) {
      need(!open.empty() && elements[open.back()].name == tag[2] &&
           tag.length(3) + tag.length(4) == 0);
      open.pop_back();
    } else {
      elements.push_back({tag[2], {}, "", open.empty() ? 0 : open.back()});
      for (std::sregex_iterator i(tag[3].first, tag[3].second, kAttribute), end; i != end; ++i) {
        need(elements.back().attributes.emplace((*i)[1], resolved((*i)[2])).second);
      }
      if (tag.length(4) == 0) open.push_back(elements.size() - 1);
    }
    at += static_cast<size_t>(tag.length());
    if (open.empty()) break;
    const size_t next = std::min(text.find('<', at), text.size());
    elements[open.back()].text += resolved(text.substr(at, next - at));
    at = next;
  }
  need(at == text.size() || text.substr(at) == "\n");
  return elements;
}

EvalRow make_row(const std::string& policy, std::optional<int64_t> budget, int64_t length,
                 std::optional<double> depth, double accuracy) {
  const Interval around = {std::max(0.0, accuracy - 0.1), std::min(1.0, accuracy + 0.05)};
  return {"needle", policy, budget, QuestionSeen::kBefore, length, depth, 40, accuracy, around};
}

Elements all_of(const Elements& elements, const std::string& name, const std::string& word) {
  Elements found;
  for (const Element& element : elements) {
    if (element.is(name, word)) found.push_back(element);
  }
  return found;
}

/// The texts of a class, as "|a|b|c|".
std::string texts_of(const Elements& elements, const std::string& word) {
  std::string texts = "|";
  for (const Element& element : all_of(elements, "text", word)) texts += element.text + "|";
  return texts;
}

/// What has a tooltip, by that, the root left out.
std::map<std::string, Elements> tipped(const Elements& elements) {
  std::map<std::string, Elements> found;
  for (size_t i = 2; i < elements.size(); ++i) {
    if (elements[i].name != "title") continue;
    Elements& group = found[elements[i].text];
    CHECK(group.empty());
    const size_t parent = elements[i].parent;
    for (size_t j = i + 1; j < elements.size() && elements[j].parent == parent; ++j) {
      group.push_back(elements[j]);
    }
  }
  return found;
}

/// Where the marker with that outline, "M<x> <y>m..", stands.
Point place_of(const Element& mark) {
  REQUIRE(mark.is("path", "mark"));
  const std::string& d = mark.attributes.at("d");
  return {std::stod(d.substr(1)), std::stod(d.substr(d.find(' ')))};
}

/// Rows of 3 budgets, in these of 3 lengths, in these of 11 depths or of none.
std::vector<EvalRow> grid(const std::vector<std::string>& policies, bool with_depths) {
  std::vector<EvalRow> rows;
  for (const std::string& policy : policies) {
    for (const int64_t budget : {256, 512, 1024}) {
      for (const int64_t length : {4096, 5000, 16384}) {
        for (int tenth = 0; tenth <= (with_depths ? 10 : 0); ++tenth) {
          const auto depth = with_depths ? std::optional(tenth / 10.0) : std::nullopt;
          rows.push_back(
              make_row(policy, budget, length, depth, double(rows.size() * 7 % 41) / 40));
        }
      }
    }
  }
  return rows;
}

/// The relative luminance of "#rrggbb".
double luminance(const std::string& color) {
  REQUIRE(color.size() == 7);
  const auto linear = [&color](size_t at) {
    const double value = std::stoi(color.substr(at, 2), nullptr, 16) / 255.0;
    return value <= 0.04045 ? value / 12.92 : std::pow((value + 0.055) / 1.055, 2.4);
  };
  return 0.2126 * linear(1) + 0.7152 * linear(3) + 0.0722 * linear(5);
}

}  // namespace

TEST_CASE("the reader of these tests refuses what is no XML") {
  CHECK(read_xml("<a b=\"&lt;\"><c/>x&amp;y</a>\n").size() == 2);
  std::istringstream broken(
      "x;<a>;<a></b>;<a><b></a></b>;<a/><a/>;<a/>x;<a>&</a>;<a>&nbsp</a>;<a>></a>;<a b=1/>;< a/>;"
      "<a b=\"<\"/>;<a b=\"1\" b=\"2\"/>;<a b=\"1\"c=\"2\"/>;<a b/>;</a>;<a>\x01</a>;<a>\xFF</a>;"
      "<a>\uFFFF</a>;<a b=\"1/>;;<a;<a></a/>;<a>x");
  for (std::string text; std::getline(broken, text, ';');) {
    CAPTURE(text);
    CHECK_THROWS_AS(read_xml(text), std::runtime_error);
  }
}

TEST_CASE("a picture's numbers and words") {
  CHECK(fixed_number(2.345, 1) == "2.3");
  CHECK(fixed_number(-0.04, 1) == "0.0");
  CHECK(fixed_number(-0.06, 1) == "-0.1");
  CHECK(fixed_number(1e300, 0).size() == 301);
  CHECK_THROWS_AS(fixed_number(std::nan(""), 1), Error);
  CHECK(xml_text("a<b>&\"'\n\x01\xFF") == "a&lt;b&gt;&amp;&quot;&#39;↵\\x01\\xff");
  const std::pair<double, const char*> kShares[] = {
      {0, "0"}, {0.001, "1"}, {0.974, "97"}, {0.999, "99"}, {1, "100"}};
  for (const auto& [share, text] : kShares) CHECK(percent_text(share) == text);
  CHECK(count_text(16384) == "16K");
  CHECK(count_text(1000) == "1000");
  CHECK(row_text(make_row("sage", 512, 4096, 0.5, 0.9)) ==
        "sage, 512 rows per head, 4096 tokens, depth 50.0%, 40 samples: 90.0% (95% interval 80.0% "
        "to 95.0%)");
  CHECK(row_text(make_row("full", {}, 4096, {}, 1)) ==
        "full, every row, 4096 tokens, 40 samples: 100.0% (95% interval 90.0% to 100.0%)");
  CHECK(fitted_text("short", 10, 100) == "short");
  const std::string cut = fitted_text(std::string(50, 'x'), 10, 100);
  CHECK(cut.ends_with("x…"));
  CHECK(text_width(cut, 10) <= 100);
  CHECK(text_width(cut, 10) > 85);
}

TEST_CASE("the heat map has a cell for each row, and frames where there is none") {
  std::vector<EvalRow> rows = grid({"sage", "random"}, true);
  for (EvalRow& row : rows) {  // takes 5 of each of three panels out
    if (row.policy == "random" && row.length == 5000 && *row.depth > 0.55) row.n = 0;
  }
  rows.push_back(make_row("sage", 256, 4096, {}, 0.5));  // all depths together: not of this picture
  const Elements elements = read_xml(heat_map_svg(rows, "Title"));
  rows.pop_back();
  CHECK(all_of(elements, "g", "cell").size() == rows.size() - 15);
  CHECK(all_of(elements, "rect", "none").size() == 15 + 1);  // and the legend's

  // Within a panel x tells the length and y the depth; equal steps down are equally far.
  const auto tips = tipped(elements);
  CHECK(tips.size() == rows.size() - 15);
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].n == 0) continue;
    const Elements& cell = tips.at(row_text(rows[i]));
    CHECK(cell[1].text == percent_text(rows[i].accuracy));
    const size_t in_panel = i % 33;  // of 3 lengths and 11 depths
    const Element& first = tips.at(row_text(rows[i - in_panel]))[0];
    CHECK(cell[0].number("x") - first.number("x") ==
          doctest::Approx(double(in_panel / 11) * (first.number("width") + 1.5)));
    CHECK(cell[0].number("y") - first.number("y") ==
          doctest::Approx(double(in_panel % 11) * (first.number("height") + 1.5)));
  }
}

TEST_CASE("the heat map's panels: order, labels, at most 4 beside each other") {
  std::vector<EvalRow> rows = grid({"sage", "random"}, true);
  rows.push_back(make_row("full", {}, 8192, 0.25, 1));
  rows.back().question = QuestionSeen::kAfter;
  rows.push_back(make_row("sage", 256, 8192, 0.25, 1));
  rows.back().task = "keys";
  const Elements elements = read_xml(heat_map_svg(rows, "Title"));
  CHECK(texts_of(elements, "name") ==
        "|sage · 256 rows|sage · 512 rows|sage · 1024 rows|random · 256 rows|random · 512 rows"
        "|random · 1024 rows|full · every row|sage · 256 rows|");
  CHECK(texts_of(elements, "head") ==
        "|needle · question read with the text|needle · question read after rows were dropped"
        "|keys · question read with the text|");
  std::map<double, int> per_line;  // by y
  for (const Element& name : all_of(elements, "text", "name")) ++per_line[name.number("y")];
  std::string lines;
  for (const auto& [y, n] : per_line) lines += std::to_string(n);
  CHECK(lines == "4211");
  const std::string labels = texts_of(elements, "faint");
  CHECK(labels.find("|0%|10%|20%|30%|40%|50%|60%|70%|80%|90%|100%|") != std::string::npos);
  CHECK(labels.find("|4K|5000|16K|4K|5000|16K|") != std::string::npos);
  CHECK(labels.find("|25%|8K|") != std::string::npos);
}

TEST_CASE("the heat map of many lengths and close depths stays readable") {
  std::vector<EvalRow> rows;
  for (int64_t length = 100001; length <= 100060; ++length) {
    rows.push_back(make_row("sage", 64, length, 0.501, 0.5));
    rows.push_back(make_row("sage", 64, length, 0.504, 0.5));
  }
  const Elements elements = read_xml(heat_map_svg(rows, "Title"));
  double free_from = 0;
  for (const Element& label : all_of(elements, "text", "mid")) {
    if (label.text.size() != 6) continue;
    const double half = text_width(label.text, kTextSize) / 2;
    CHECK(label.number("x") - half > free_from);
    free_from = label.number("x") + half;
  }
  CHECK(free_from > 60 * text_width("100001", kTextSize));
  CHECK(free_from < elements[0].number("width"));
  CHECK(texts_of(elements, "end") == "|100%|50.1%|50.4%|");  // one of the legend
}

TEST_CASE("a cell is lighter the better, and its number can be read") {
  double last = -1;
  for (int percent = 0; percent <= 100; ++percent) {
    const std::vector<EvalRow> rows = {make_row("sage", 64, 4096, 0.5, percent / 100.0)};
    const Elements elements = read_xml(heat_map_svg(rows, "Title"));
    const Elements cell = tipped(elements).begin()->second;
    const double light = luminance(cell[0].attributes.at("fill"));
    CHECK(light > last);
    last = light;
    const bool is_black = cell[1].is("text", "on-light");
    CHECK(is_black != cell[1].is("text", "on-dark"));
    CHECK((is_black ? (light + 0.05) / 0.05 : 1.05 / (light + 0.05)) >= 4.5);
  }
}

TEST_CASE("the budget plot: a marker for each row, where its numbers say") {
  std::vector<EvalRow> rows = grid({"sage", "random"}, false);
  rows.push_back(make_row("once", 513, 4096, {}, 0.25));
  rows.push_back(make_row("sage", 256, 4096, 0.5, 0.5));  // of one depth: not of this picture
  const Elements elements = read_xml(budget_plot_svg(rows, "Title"));
  rows.pop_back();
  CHECK(texts_of(elements, "name") ==
        "|needle · 4K tokens|needle · 5000 tokens|needle · 16K tokens|");
  CHECK(all_of(elements, "path", "mark").size() == rows.size() + 3);  // and the legend's
  CHECK(all_of(elements, "line", "bar").size() == rows.size());
  CHECK(texts_of(elements, "mid").starts_with("|256|512|1K|rows of a KV head|"));  // not 513
  // Two policies in three panels, and three in the legend: one budget makes no line.
  CHECK(all_of(elements, "polyline", "path").size() == 2 * 3 + 3);

  const auto tips = tipped(elements);
  CHECK(tips.size() == rows.size());
  const Elements percents = all_of(elements, "text", "end");  // 0%, 25%, ..
  REQUIRE(percents.size() == 5);
  const double zero = percents[0].number("y") - kToMiddle;
  const double height = zero + kToMiddle - percents[4].number("y");
  CHECK(height > 100);
  for (const EvalRow& row : rows) {
    const Elements& drawn = tips.at(row_text(row));  // bar, marker
    REQUIRE(drawn.size() == 2);
    CHECK(std::fabs(place_of(drawn[1]).y - (zero - height * row.accuracy)) < 0.06);
    CHECK(std::fabs(drawn[0].number("y1") - (zero - height * row.ci95.low)) < 0.06);
    CHECK(std::fabs(drawn[0].number("y2") - (zero - height * row.ci95.high)) < 0.06);
    CHECK(drawn[0].number("x1") == place_of(drawn[1]).x);
    CHECK(drawn[0].number("x2") == place_of(drawn[1]).x);
  }
  const auto x_of = [&](size_t i) { return place_of(tips.at(row_text(rows[i]))[1]).x; };
  for (const size_t i : {0, 1, 2, 9, 10, 11}) {  // of 256 rows; 3 on is the next budget
    CHECK(x_of(i + 3) > x_of(i) + 20);
    CHECK(std::fabs(x_of(i + 6) - 2 * x_of(i + 3) + x_of(i)) < 0.21);  // a doubling is a step
  }
}

TEST_CASE("the budget plot: rows without a budget are labelled lines with bands") {
  std::vector<EvalRow> rows = grid({"sage"}, false);
  std::erase_if(rows, [](const EvalRow& row) { return row.length != 4096; });
  rows.push_back(make_row("full", {}, 4096, {}, 0.8));
  rows.push_back(make_row("exact", {}, 4096, {}, 0.79));
  const Elements elements = read_xml(budget_plot_svg(rows, "Title"));
  const auto tips = tipped(elements);
  const Elements& full = tips.at(row_text(rows[3]));
  const Elements& exact = tips.at(row_text(rows[4]));
  REQUIRE(full.size() == 3);
  CHECK(full[0].is("rect", "band"));
  CHECK(full[1].is("line", "whole"));
  const double above = full[1].number("y1") - full[0].number("y");  // 0.05, below it 0.1
  CHECK(full[0].number("height") == doctest::Approx(3 * above).epsilon(0.01));
  CHECK(full[2].text == "full");
  CHECK(exact[2].text == "exact");
  CHECK(exact[2].number("y") - full[2].number("y") >= kTextSize);
  CHECK(full[2].number("x") + text_width("full", kTextSize) < elements[0].number("width"));
}

TEST_CASE("the budget plot: sixteen policies differ, in shape alone too") {
  std::vector<std::string> policies;
  for (int i = 0; i < 17; ++i) policies.push_back("policy" + std::to_string(i));
  const std::vector<EvalRow> rows = grid(policies, false);
  const Elements elements = read_xml(budget_plot_svg(rows, "Title"));
  const auto tips = tipped(elements);
  std::set<std::string> looks;
  for (size_t i = 0; i < policies.size(); ++i) {
    const Element& mark = tips.at(row_text(rows[9 * i]))[1];
    const std::string outline = mark.attributes.at("d").substr(mark.attributes.at("d").find('m'));
    CHECK(looks.insert(mark.attributes.at("class") + outline).second == (i < 16));
  }
  for (const std::string& policy : policies) {  // all are in the legend
    CHECK(texts_of(elements, "").find("|" + policy + "|") != std::string::npos);
  }
}

TEST_CASE("names that mean something to XML are text") {
  const std::string hostile = "</g><script>\"'&amp;\x01\xFF\xEF\xBF\xBF\n";
  const std::string seen = "</g><script>\"'&amp;\\x01\\xff\xEF\xBF\xBD↵";
  for (const bool with_depths : {false, true}) {
    const auto draw = with_depths ? heat_map_svg : budget_plot_svg;
    std::vector<EvalRow> rows = grid({hostile}, with_depths);
    for (EvalRow& row : rows) row.task = hostile;
    const std::string picture = draw(rows, hostile);
    const Elements elements = read_xml(picture);
    CHECK(elements.size() == read_xml(draw(grid({"plain"}, with_depths), "plain")).size());
    CHECK(elements[1].text == seen);
    size_t n_tips = 0;
    for (const auto& [tip, group] : tipped(elements)) n_tips += tip.starts_with(seen) ? 1 : 0;
    CHECK(n_tips == rows.size());

    CHECK(draw(rows, hostile) == picture);
    CHECK(picture.find("prefers-color-scheme: dark") != std::string::npos);
    for (const char* const word : {"<script", "href", "url(", "@import", "<image", "<foreign"}) {
      CHECK(picture.find(word) == std::string::npos);
    }
    CHECK(picture.rfind("http") == picture.find("http://www.w3.org/2000/svg"));
  }
}

TEST_CASE("a picture of no rows says so") {
  std::vector<EvalRow> rows = {make_row("sage", 64, 4096, std::nan(""), 0.5)};
  for (const std::optional<double> depth : {std::optional<double>(), std::optional(0.5)}) {
    for (const double accuracy : {0.5, std::nan(""), 0.25}) {
      rows.push_back(make_row("sage", 64, 4096, depth, accuracy));
    }
    rows[rows.size() - 3].n = 0;
    rows.back().ci95.high = std::numeric_limits<double>::infinity();
  }
  for (const auto draw : {heat_map_svg, budget_plot_svg}) {
    for (const size_t n : {size_t{0}, rows.size()}) {
      const Elements elements = read_xml(draw(std::span(rows).first(n), "Title"));
      CHECK(texts_of(elements, "") == "|Title|no rows|");
      CHECK(elements[1].text == "Title");
    }
  }
}
