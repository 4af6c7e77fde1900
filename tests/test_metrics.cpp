// Scores of answers: by hand, and against the Python packages that LongBench scores with.
#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/eval/metrics.h"
#include "tests/support/expect_error.h"

namespace winnow::test {
namespace {

double score(Metric metric, const std::string& prediction,
             const std::vector<std::string>& answers) {
  return score_answer(metric, prediction, answers);
}

struct Case {
  const char* prediction;
  const char* answer;
  double score;
};

void check_all(Metric metric, const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    CAPTURE(c.prediction);
    CAPTURE(c.answer);
    const double got = score(metric, c.prediction, {c.answer});
    CHECK(got == doctest::Approx(c.score).epsilon(1e-10));
  }
}

TEST_CASE("metrics: every name leads to its metric and back") {
  const std::vector<std::string_view> names = metric_names();
  CHECK(names == std::vector<std::string_view>{"exact", "contains", "contains_any", "f1", "rouge_l",
                                               "edit_sim", "count"});
  for (const std::string_view name : names) {
    CAPTURE(std::string(name));
    const std::optional<Metric> metric = find_metric(name);
    REQUIRE(metric.has_value());
    CHECK(metric_name(*metric) == name);
  }
  for (const char* name : {"", "Exact", "exact ", "rouge", "f2"}) {
    CHECK_FALSE(find_metric(name).has_value());
  }
}

TEST_CASE("metrics: no right answers is an internal error") {
  expect_error(ExitCode::kInternal, {"no right answer"},
               [] { score_answer(Metric::kF1, "a", std::vector<std::string>()); });
}

TEST_CASE("exact: case, punctuation, articles and white space do not count") {
  const std::vector<Case> cases = {
      {"The  Eiffel-Tower!\n", "eiffeltower", 1},
      {"a cat and the dog", "Cat and dog.", 1},
      {"theatre", "atre", 0},     // an article is a whole word
      {"it's", "its", 1},         // punctuation goes, it is no space
      {"t_he x", "x", 1},         // and goes before articles do
      {"a.n ox", "an ox", 1},     // so that this is one
      {"cat dog", "dog cat", 0},  // words have an order
      {"catdog", "cat dog", 0},
      {"1 the 2", "1 2", 1},
      {"a1 the2", "1 2", 0},        // digits are parts of words
      {"x\ty\u00a0z", "x y z", 1},  // a no-break space is white space
      {"x\u200by", "x y", 0},       // a zero-width one is not
      {"", "", 1},
      {"the.", "A", 1},  // nothing is left of either
      {"B", "A", 0},
  };
  check_all(Metric::kExact, cases);
}

TEST_CASE("exact: beyond ASCII") {
  const std::vector<Case> cases = {
      {"ÉCOLE Ÿ Ž", "école ÿ ž", 1},
      {"ПРИВЕТ Ё", "привет ё", 1},
      {"ΆΛΦΑ", "άλφα", 1},
      {"ＡＢ", "ａｂ", 1},
      {"Ẽ ẞ", "ẽ ß", 1},
      {"×÷", "×÷", 1},  // between capitals, and none themselves
      {"\u00d7", "\u00f7", 0},
      {"“the end”", "“ end”", 1},  // a quote ends an article, and stays
      {"“end”", "end", 0},
      {"a–b", "–b", 1},              // as does a dash
      {"éa", "é", 0},                // a letter does not
      {"a\u0301 x", "\u0301 x", 1},  // a combining accent does
      {"中a", "中", 0},
      {"İ", "i\u0307", 0},
  };
  check_all(Metric::kExact, cases);
}

TEST_CASE("exact: invalid UTF-8 counts as U+FFFD") {
  const std::vector<Case> cases = {
      {"x\xff", "x\ufffd", 1},
      {"x\xc3", "x\ufffd", 1},
      {"\xe2\x82", "\ufffd", 1},
      {"x\xff", "x", 0},
  };
  check_all(Metric::kExact, cases);
}

TEST_CASE("contains: the share of the answers, in any case") {
  CHECK(score(Metric::kContains, "The numbers are 12, 345 and 9.", {"12", "345"}) == 1);
  CHECK(score(Metric::kContains, "The numbers are 12, 345 and 9.", {"12", "77", "345", "8"}) ==
        doctest::Approx(0.5));
  CHECK(score(Metric::kContains, "catalogue", {"LOG"}) == 1);  // also inside of a word
  CHECK(score(Metric::kContains, "à ÉTÉ", {"À été"}) == 1);
  CHECK(score(Metric::kContains, "a, b", {"a b"}) == 0);  // nothing is normalised
  CHECK(score(Metric::kContains, "", {"a"}) == 0);
}

TEST_CASE("contains_any: one of the answers is enough") {
  CHECK(score(Metric::kContainsAny, "It was PARIS.", {"London", "Paris"}) == 1);
  CHECK(score(Metric::kContainsAny, "It was Pari", {"London", "Paris"}) == 0);
  CHECK(score(Metric::kContainsAny, "\xff\xfe", {"\ufffd\ufffd"}) == 1);
}

TEST_CASE("f1: by hand") {
  // "cat sat on mat on chair" and "cat on mat": 3 words of 6 and of 3.
  CHECK(score(Metric::kF1, "The Cat sat on the mat, on a chair.", {"a cat on the mat"}) ==
        doctest::Approx(2 * 3.0 / (6 + 3)));
  // yes counts once and no once: 2 of 4 and of 3.
  CHECK(score(Metric::kF1, "yes yes yes no", {"yes no no"}) == doctest::Approx(2 * 2.0 / (4 + 3)));
  CHECK(score(Metric::kF1, "dog", {"cat", "dog cat", "bird"}) == doctest::Approx(2.0 / 3));
  CHECK(score(Metric::kF1, "", {"cat"}) == 0);
  CHECK(score(Metric::kF1, "the", {"a"}) == 0);  // where exact has 1
}

TEST_CASE("f1: as in Python") {
  // Random and odd texts; the values are those of collections.Counter over the words that Python's
  // str methods and re give.
  const std::vector<Case> cases = {
      {"It was Émile's “The Castle” – a novel.", "émiles castle", 0.222222222222},
      {"ΑΘΗΝΑ и МОСКВА", "Αθηνα И Москва, Париж", 0.857142857143},
      {"red blue, blue, red (blue) blue, Red blue,", "red An Red An", 0.4},
      {"sea. a red sky sky An", "Red (blue)", 0.333333333333},
      {"sky the (blue) An", "sky sky An Red", 0.4},
      {"blue, (blue) a Red sea. red sky (blue)", "sea. sea. An a (blue)", 0.4},
      {"(blue) (blue) the sea.", "sea. (blue)", 0.8},
  };
  check_all(Metric::kF1, cases);
}

TEST_CASE("rouge_l: by hand") {
  const double tiny = 1e-8;
  const auto f = [tiny](double p, double r) { return 2 * p * r / (p + r + tiny); };
  // a b c d against a c: {a, c}, of four words and of two.
  CHECK(score(Metric::kRougeL, "a b c d", {"a c"}) == doctest::Approx(f(0.5, 1)).epsilon(1e-12));
  // Order counts inside of a sentence: {a} or {b}.
  CHECK(score(Metric::kRougeL, "a b", {"b a"}) == doctest::Approx(f(0.5, 0.5)).epsilon(1e-12));
  // But not between sentences.
  CHECK(score(Metric::kRougeL, "a. b", {"b. a"}) == doctest::Approx(f(1, 1)).epsilon(1e-12));
  // Words count once: one common of one and of two.
  CHECK(score(Metric::kRougeL, "a a a", {"a b a"}) == doctest::Approx(f(1, 0.5)).epsilon(1e-12));
  // Nothing is put in lower case.
  CHECK(score(Metric::kRougeL, "The end", {"the end"}) ==
        doctest::Approx(f(0.5, 0.5)).epsilon(1e-12));
  CHECK(score(Metric::kRougeL, "to be", {"no", "to be"}) == doctest::Approx(1).epsilon(1e-8));
  CHECK(score(Metric::kRougeL, "to be", {"to be"}) < 1);
}

TEST_CASE("rouge_l: as in the Python package rouge 1.0.1") {
  // Random sentences and odd ones; the values are its
  // get_scores([prediction], [answer], avg=True)["rouge-l"]["f"], and 0 where it raises an error.
  const std::vector<Case> cases = {
      {"the cat sat on the mat. the dog ran.", "the dog sat. a cat ran on the mat", 0.799999995022},
      {"one two three four. five. six two", "five six. one three two four", 0.833333328333},
      {"f d f c d b.", "b e e b a a c. d a b b b f a", 0.599999995200},
      {"d e d a c e d f. f c a.", "a a a d b e f c", 0.727272722314},
      {"b b f a d b. b b f.", "e d e", 0.333333328889},
      {"c b e d. c d e d c.", "c a a b f f. a d a e e f", 0.799999995200},
      {"e e c e. a b f b f c c. e c b a b.", "d c b f", 0.666666661728},
      {"e f b d b f e a.", "e d f b b b. a d d f d a c", 0.909090904132},
      // Other subsequences of the same length have another number of different words.
      {"d e a e", "a e e f", 0.333333328333},
      {"c c e f", "c f c", 0.399999995200},
      {"f a c f", "f f f a", 0.799999995200},
      // A sentence of spaces is one empty word.
      {"a. . b", "b. a", 0.799999995200},
      {"a. . b", "b. . a", 0.999999995000},
      {" ", " ", 0.999999995000},
      {"a", " . ", 0},
      // No sentence at all.
      {"...", "a", 0},
      {"", "a", 0},
  };
  check_all(Metric::kRougeL, cases);
}

TEST_CASE("edit_sim: by hand, halves rounded to even") {
  CHECK(score(Metric::kEditSim, "abcdefgh", {"abcdefXY"}) == 0.75);  // 2 * 6 / 16
  CHECK(score(Metric::kEditSim, "aaaaabbb", {"aaaaaccc"}) == 0.62);  // 62.5 %
  CHECK(score(Metric::kEditSim, "aaaaaaab", {"aaaaaaac"}) == 0.88);  // 87.5 %
  CHECK(score(Metric::kEditSim, "ab", {"ba"}) == 0.5);
  CHECK(score(Metric::kEditSim, "ßßß", {"ß"}) == 0.5);  // characters, not bytes
  CHECK(score(Metric::kEditSim, "Ab", {"ab"}) == 0.5);  // no lower case
  CHECK(score(Metric::kEditSim, "abc", {"xyz", "abd", "abc"}) == 1);
  CHECK(score(Metric::kEditSim, "", {"abc"}) == 0);
}

TEST_CASE("edit_sim: only the first line of code counts") {
  const std::string code = "int x = 0;";
  const auto same = [&](const std::string& prediction) {
    return score(Metric::kEditSim, prediction, {code}) == 1;
  };
  CHECK(same("int x = 0;"));
  CHECK(same("\n\n\nint x = 0;\nint y = 1;"));
  CHECK(same("```cpp\n# a\n  // b\nint x = 0;\n```"));
  CHECK_FALSE(same("int x = 0; // zero"));
  CHECK_FALSE(same("int y = 1;\nint x = 0;"));
  CHECK_FALSE(same("# a\n\nint x = 0;"));  // the empty line is the first without a mark
  CHECK(score(Metric::kEditSim, "# a\n\nint x = 0;", {code}) == 0);
  CHECK(score(Metric::kEditSim, "`\n#\n//", {code}) == 0);
  CHECK(score(Metric::kEditSim, "\n\n", {code}) == 0);
}

TEST_CASE("edit_sim: as in fuzzywuzzy 0.18.0 with Levenshtein 0.27.5") {
  // Random texts and lines of code; the values are fuzz.ratio(line, answer) / 100.
  const std::vector<Case> cases = {
      {"    return a + b", "return a - b;", 0.76},
      {"\n\n# sum\nfor (int i = 0; i < n; i++) {\n}", "for (int64_t i = 0; i < n; ++i) {", 0.90},
      {"größe = straße", "grösse = strasse", 0.80},
      {"ab((a(bß", "=(b(bß", 0.57},
      {"+aßb== =", ")ßa)( a", 0.27},
      {")(=ßßß(b++)()a)=+++)b= ", "=ßßß(b+b)()a)b+++)b= ", 0.86},
      {" ++  ß((=++) )bß+)ßba+ (", "++  (((b++)()bß+)ßba= (", 0.81},
      {" ß ()a =(+=b=++)))+=", " ()(b=((=b==+))(+=", 0.68},
  };
  check_all(Metric::kEditSim, cases);
}

TEST_CASE("edit_sim: lines of 10,000 characters") {
  constexpr size_t kLength = 10000;
  const std::string prediction(kLength, 'x');
  const std::string answer = std::string(kLength / 2, 'y') + std::string(kLength / 2, 'x');
  CHECK(score(Metric::kEditSim, prediction, {answer}) == 0.5);
}

TEST_CASE("count: the share of the numbers that are the answer") {
  CHECK(score(Metric::kCount, "17", {"17"}) == 1);
  CHECK(score(Metric::kCount, "There are 17 of 20, so 17.", {"17"}) == doctest::Approx(2.0 / 3));
  CHECK(score(Metric::kCount, "1.5", {"5"}) == 0.5);  // two numbers
  CHECK(score(Metric::kCount, "x17y-17", {"17"}) == 1);
  CHECK(score(Metric::kCount, "017 170", {"17"}) == 0);  // as text
  CHECK(score(Metric::kCount, "4 4 5", {"5", "4"}) == doctest::Approx(2.0 / 3));
  CHECK(score(Metric::kCount, "seventeen", {"17"}) == 0);
  CHECK(score(Metric::kCount, "", {"17"}) == 0);
}

}  // namespace
}  // namespace winnow::test
