// The promises about h2o and quest, on the CPU.
#include <doctest/doctest.h>

#include "tests/support/winnow_decode.h"

using namespace winnow;
using namespace winnow::test;

TEST_CASE("winnowed decode") {
  for (const DecodePromise& promise : decode_promises()) {
    SUBCASE(promise.name) {
      promise.check(load_tiny, DType::kF32);
    }
  }
}
