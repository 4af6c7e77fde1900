// The promises about winnowed caches, on the CPU.
#include <doctest/doctest.h>
#include <unistd.h>

#include <fstream>

#include "tests/support/winnow_trust.h"

using namespace winnow;
using namespace winnow::test;

TEST_CASE("winnowed cache") {
  for (const Promise& promise : promises()) {
    SUBCASE(promise.name) {
      promise.check(load_tiny, DType::kF32);
    }
  }
}

TEST_CASE("winnowed cache: the process's resident set shows the fall") {
  if (default_placement() == Placement::kApart) {
    MESSAGE("skipped: a memory checker keeps freed blocks for a while");
    return;
  }
  const auto resident = [] {
    int64_t total = 0, pages = 0;
    std::ifstream("/proc/self/statm") >> total >> pages;
    return pages * sysconf(_SC_PAGESIZE);
  };
  const TinyModel shape = winnow_shapes(DType::kF32)[3];
  check_fall_shows(load_tiny(shape, 6010), shape, 6000, resident);
}

TEST_CASE("winnowed cache: while nothing is dropped, places in the cache are places in the text") {
  const TinyModel shape;
  const Model model = load_tiny(shape, kCapacity);
  const auto run = [&](const KvOptions& options) {
    Sequence sequence = make_sequence(model, options, kPrompt, kCapacity);
    sequence.prefill(prompt_of(shape, kPrompt, 31));
    for (int i = 0; i < 20; ++i) step(sequence, i);
    return last_logits(sequence, model);
  };
  KvOptions places = kv_options("sage", kPrompt);
  places.places_in_cache = true;
  CHECK(same_bits(run(places), run({})));
}
