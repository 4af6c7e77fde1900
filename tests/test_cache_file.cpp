// The file of a cache: what is written is what is read.
#include <doctest/doctest.h>

#include "tests/support/expect_error.h"
#include "tests/support/saved_cache.h"

using namespace winnow;
using namespace winnow::test;

namespace {

struct Saved {
  TempDir dir;
  TinyModel shape;
  Model model = load_tiny(shape, kCapacity);
  std::vector<int32_t> tokens = prompt_of(shape, kPrompt, 40);

  std::filesystem::path path() const { return dir / "text.cache"; }

  void write(const KvOptions& kv) {
    Sequence sequence = make_sequence(model, kv, kPrompt, kCapacity);
    sequence.prefill(tokens);
    save(sequence, model, kv, tokens, kPrompt, path());
  }
};

KvOptions every_option() {
  KvOptions kv = kv_options("sage", 30);
  kv.budget = KvBudget{.unit = KvBudget::Unit::kPercent, .amount = 42.5};
  kv.sink = 3;
  kv.recent = 5;
  kv.group = Group::kHead;
  kv.fill = true;
  kv.reselect = true;
  kv.recompact = 9;
  kv.places_in_cache = true;
  kv.policy_options.seed = 0xfedcba9876543210;
  return kv;
}

}  // namespace

TEST_CASE("cache file: options, tokens and state come back as they were") {
  Saved saved;
  for (const KvOptions& kv : {KvOptions{}, kv_options("streaming", 20), every_option()}) {
    CAPTURE(kv.policy);
    saved.write(kv);
    const CacheContents read = CacheFile::open(saved.path()).read_tables();
    CHECK(read.model.config == kSomeModel.config);
    CHECK(read.model.weights == kSomeModel.weights);
    CHECK(read.n_layers == saved.model.config.n_layers);
    CHECK(read.n_kv_heads == saved.model.config.n_kv_heads);
    CHECK(read.group == saved.model.config.group());
    CHECK(read.head_dim == saved.model.config.head_dim);
    CHECK(read.vocab_size == saved.model.config.vocab_size);
    CHECK(read.type == DType::kF32);
    CHECK(read.first_prompt == kPrompt);
    CHECK(read.tokens == saved.tokens);
    CHECK(read.kv.policy == kv.policy);
    CHECK(read.kv.budget.has_value() == kv.budget.has_value());
    if (kv.budget) CHECK(budget_text(*read.kv.budget) == budget_text(*kv.budget));
    CHECK(read.kv.sink == kv.sink);
    CHECK(read.kv.recent == kv.recent);
    CHECK(read.kv.group == kv.group);
    CHECK(read.kv.fill == kv.fill);
    CHECK(read.kv.reselect == kv.reselect);
    CHECK(read.kv.recompact == kv.recompact);
    CHECK(read.kv.places_in_cache == kv.places_in_cache);
    CHECK(read.kv.policy_options.seed == kv.policy_options.seed);
    CHECK(read.winnowed() == (kv.policy != "full"));
    CHECK(read.state.next_position == kPrompt);
  }
}

TEST_CASE("cache file: every way to write a budget and a group comes back") {
  Saved saved;
  for (const auto& [unit, amount] : {std::pair{KvBudget::Unit::kRows, 24.0},
                                     {KvBudget::Unit::kPercent, 33.3},
                                     {KvBudget::Unit::kBytes, 16.0 * 1024}}) {
    KvOptions kv = kv_options("sage", 24);
    kv.budget = KvBudget{.unit = unit, .amount = amount};
    saved.write(kv);
    const CacheContents read = CacheFile::open(saved.path()).read_tables();
    CHECK(read.kv.budget->unit == unit);
    CHECK(read.kv.budget->amount == amount);
  }
  for (const Group group : {Group::kHead, Group::kMean, Group::kMax, Group::kSum}) {
    KvOptions kv = kv_options("sage", 24);
    kv.group = group;
    saved.write(kv);
    CHECK(CacheFile::open(saved.path()).read_tables().kv.group == group);
  }
}

TEST_CASE("cache file: it has the size that its layout says, and the rows of the store") {
  Saved saved;
  saved.write(kv_options("sage", 24));
  const CacheBytes bytes(read_file(saved.path()));
  CHECK(bytes.header.file_bytes == std::filesystem::file_size(saved.path()));
  CHECK(bytes.layout.end == bytes.header.file_bytes);
  CHECK(bytes.layout.heads == sizeof(CacheHeader));
  const std::string raw = read_file(saved.path());
  Sequence sequence = make_sequence(saved.model, kv_options("sage", 24), kPrompt, kCapacity);
  sequence.prefill(saved.tokens);
  uint64_t at = bytes.layout.rows;
  for (int64_t l = 0; l < saved.model.config.n_layers; ++l) {
    for (int64_t h = 0; h < saved.model.config.n_kv_heads; ++h) {
      const auto memory = sequence.cache().store().head_memory(l, h);
      const auto n = static_cast<uint64_t>(sequence.cache().head(l, h).rows * 8 * 4);
      CHECK(std::memcmp(&raw[at], memory.k, n) == 0);
      CHECK(std::memcmp(&raw[at + n], memory.v, n) == 0);
      at += 2 * n;
    }
  }
  CHECK(at == raw.size());
}

TEST_CASE("cache file: two runs write the same bytes, and what is loaded is saved alike") {
  Saved saved;
  const KvOptions kv = kv_options("sage", 24);
  saved.write(kv);
  const std::string first = read_file(saved.path());
  saved.write(kv);
  CHECK(read_file(saved.path()) == first);
  const auto loaded = load_saved(saved.model, saved.path(), kCapacity);
  save(*loaded, saved.model, kv, saved.tokens, kPrompt, saved.path());
  CHECK(read_file(saved.path()) == first);
}

TEST_CASE("cache file: a text that is longer than the capacity is refused, and nothing is held") {
  Saved saved;
  saved.write(kv_options("sage", 24));
  const uint64_t used = saved.model.device->arena().used();
  expect_error(ExitCode::kPrompt, {"70 tokens", "room for 69"},
               [&] { load_saved(saved.model, saved.path(), kPrompt - 1); });
  CHECK(saved.model.device->arena().used() == used);
  CHECK(load_saved(saved.model, saved.path(), kPrompt)->cache().next_position() == kPrompt);
}

TEST_CASE("cache file: a file that is cut while its rows are read leaves nothing behind") {
  Saved saved;
  saved.write(kv_options("sage", 24));
  const CacheFile file = CacheFile::open(saved.path());
  const CacheContents contents = file.read_tables();
  std::filesystem::resize_file(saved.path(), std::filesystem::file_size(saved.path()) - 1);
  const uint64_t used = saved.model.device->arena().used();
  {
    Sequence sequence(saved.model.network(),
                      {.capacity = kCapacity,
                       .prefill_rows = 0,
                       .kv = cache_settings(contents, saved.model.config, "x")});
    const uint64_t empty = saved.model.device->arena().used();
    expect_error(ExitCode::kIo, {"text.cache: ends at byte"},
                 [&] { load_sequence(file, contents, sequence, *saved.model.device); });
    CHECK(sequence.cache().empty());
    CHECK(saved.model.device->arena().used() == empty);
    sequence.prefill(saved.tokens);  // and it can be used
    CHECK(sequence.cache().next_position() == kPrompt);
  }
  CHECK(saved.model.device->arena().used() == used);
}
