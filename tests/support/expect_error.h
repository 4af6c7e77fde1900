// Expecting a failure: its exit code, and what its one line must say.
#pragma once

#include <doctest/doctest.h>

#include <initializer_list>
#include <string>
#include <string_view>

#include "src/base/error.h"
#include "tests/support/shown.h"

namespace winnow::test {

/// Calls `body`, which must throw Error with `code` and a message of one line that contains each
/// of `parts`.
template <class Body>
void expect_error(ExitCode code, std::initializer_list<std::string_view> parts, Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    const std::string message = error.what();
    CAPTURE(message);
    CHECK(static_cast<int>(error.code()) == static_cast<int>(code));
    CHECK(message.find_first_of("\n\r\x1b") == std::string::npos);
    CHECK(message.size() < 1000);
    for (const std::string_view part : parts) {
      INFO("expected in the message: ", std::string(part));
      CHECK(message.find(part) != std::string::npos);
    }
    return;
  }
  FAIL_CHECK("no error was thrown");
}

}  // namespace winnow::test
