#include <doctest/doctest.h>

#include <chrono>
#include <string>

#include "tokenizer/nfc.h"

using namespace winnow;

TEST_CASE("form C joins letters and marks, and leaves the rest") {
  CHECK(to_nfc("") == "");
  CHECK(to_nfc("plain text\n\t\x01") == "plain text\n\t\x01");
  CHECK(to_nfc(std::string("a\0e\u0301", 5)) == std::string("a\0\u00E9", 4));
  CHECK(to_nfc("e\u0301") == "\u00E9");
  CHECK(to_nfc("x e\u0301 y") == "x \u00E9 y");
  CHECK(to_nfc("\u00E9") == "\u00E9");
  CHECK(to_nfc("\u0301e") == "\u0301e");
  CHECK(to_nfc("1\u0301") == "1\u0301");  // there is no such letter
  CHECK(to_nfc("\uFB01") == "\uFB01");    // a ligature is taken apart in form KC alone
  CHECK(to_nfc("a\u0301\u0301") == "\u00E1\u0301");
}

TEST_CASE("form C is Unicode's, with its exceptions") {
  CHECK(to_nfc("\u212B") == "\u00C5");              // the sign Angstrom is the letter
  CHECK(to_nfc("\u0958") == "\u0915\u093C");        // excluded from composition
  CHECK(to_nfc("\u0344") == "\u0308\u0301");        // so is this one
  CHECK(to_nfc("\u1100\u1161\u11A8") == "\uAC01");  // Hangul, by rule
  CHECK(to_nfc("\uAC00\u11A8") == "\uAC01");
  CHECK(to_nfc("\u1E0B\u0323") == "\u1E0D\u0307");  // d, dot above, dot below: reordered
  CHECK(to_nfc("q\u0307\u0323") == "q\u0323\u0307");
  CHECK(to_nfc("\U0001D15E") == "\U0001D157\U0001D165");  // four bytes each
}

TEST_CASE("marks keep their order within a class") {
  // U+0300 and U+0301 are both above; U+0316 and U+0317 both below.
  CHECK(to_nfc("q\u0300\u0316\u0301\u0317") == "q\u0316\u0317\u0300\u0301");
}

TEST_CASE("a letter with a million marks takes no longer than other text") {
  std::string marks = "q";
  std::string sorted = "q";
  for (int i = 0; i < 1'000'000; ++i) marks += "\u0301\u0316";
  for (int i = 0; i < 1'000'000; ++i) sorted += "\u0316";
  for (int i = 0; i < 1'000'000; ++i) sorted += "\u0301";
  const auto start = std::chrono::steady_clock::now();
  CHECK(to_nfc(marks) == sorted);
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  CHECK(time.count() < 30);  // swapping neighbours would take an hour
}
