// Strict numbers, and the nearest known word.
#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "src/cli/number.h"
#include "src/cli/suggest.h"
#include "tests/support/shown.h"

namespace winnow::test {
namespace {

TEST_CASE("number: the limits of each type, and one past them") {
  CHECK(parse_number<int32_t>("-2147483648") == std::numeric_limits<int32_t>::min());
  CHECK(parse_number<int32_t>("2147483647") == std::numeric_limits<int32_t>::max());
  CHECK_FALSE(parse_number<int32_t>("2147483648").has_value());
  CHECK(parse_number<int64_t>("9223372036854775807") == std::numeric_limits<int64_t>::max());
  CHECK_FALSE(parse_number<int64_t>("9223372036854775808").has_value());
  CHECK(parse_number<uint64_t>("18446744073709551615") == std::numeric_limits<uint64_t>::max());
  CHECK_FALSE(parse_number<uint64_t>("18446744073709551616").has_value());
  CHECK_FALSE(parse_number<uint64_t>("-1").has_value());
  CHECK(parse_number<float>("3.4028235e38") == std::numeric_limits<float>::max());
  CHECK_FALSE(parse_number<float>("3.5e38").has_value());
}

TEST_CASE("number: all of the text must be one") {
  for (const char* text : {"", " 1", "1 ", "+1", "1x", "0x1", "1,0", "--1", "-", "nan", "inf"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_number<int64_t>(text).has_value());
    CHECK_FALSE(parse_number<float>(text).has_value());
  }
  CHECK(parse_number<int64_t>("007") == 7);
  CHECK(parse_number<float>("1e-2") == 0.01F);
  CHECK_FALSE(parse_number<int64_t>(std::string_view("1\0", 2)).has_value());
}

TEST_CASE("number: ranges with and without their lower end") {
  const Range<int32_t> closed{1, 3};
  CHECK(closed.contains(1));
  CHECK(closed.contains(3));
  CHECK_FALSE(closed.contains(0));
  CHECK_FALSE(closed.contains(4));
  const Range<float> open{0, 1, true};
  CHECK_FALSE(open.contains(0));
  CHECK(open.contains(1e-30F));
  CHECK(open.contains(1));
}

TEST_CASE("number: ranges in words") {
  CHECK(describe(Range<int32_t>{1, 3}) == "a whole number from 1 to 3");
  CHECK(describe(Range<float>{0, 0.5F}) == "a number from 0 to 0.5");
  CHECK(describe(Range<float>{0, 1, true}) == "a number over 0, at most 1");
  CHECK(describe(Range<float>{0, std::numeric_limits<float>::max(), true}) == "a number over 0");
}

TEST_CASE("number: lists") {
  const Range<int32_t> range{0, 9};
  CHECK(parse_number_list<int32_t>("1", range) == std::vector<int32_t>{1});
  CHECK(parse_number_list<int32_t>("1,2,1", range) == std::vector<int32_t>{1, 2, 1});
  for (const char* text : {"", ",", "1,", ",1", "1,,2", "1, 2", "1,10", "1;2"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_number_list<int32_t>(text, range).has_value());
  }
}

TEST_CASE("suggest: the distance counts insertions, removals and replacements") {
  CHECK(edit_distance("", "") == 0);
  CHECK(edit_distance("abc", "") == 3);
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("kitten", "sitting") == 3);
  CHECK(edit_distance("temp", "tmep") == 2);
  CHECK(edit_distance("flaw", "lawn") == 2);
}

TEST_CASE("suggest: only what is near, the nearest first, the first of equals") {
  const std::vector<std::string> known = {"--temp", "--top-k", "--top-p", "--seed"};
  CHECK(nearest_word("--tmp", known) == "--temp");
  CHECK(nearest_word("--top-q", known) == "--top-k");
  CHECK(nearest_word("--sed", known) == "--seed");
  CHECK(nearest_word("--color", known).empty());
  CHECK(nearest_word("", known).empty());
  CHECK(nearest_word(std::string(1000, 'x'), known).empty());
}

}  // namespace
}  // namespace winnow::test
