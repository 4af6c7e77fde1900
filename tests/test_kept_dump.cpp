// The JSON of what was kept, and how many heads see each token.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "src/base/error.h"
#include "src/kv/kept_dump.h"
#include "src/kv/kept_shares.h"
#include "tests/support/kept_record.h"

using namespace winnow;
using namespace winnow::test;

namespace {

using OrderedJson = nlohmann::ordered_json;

/// The record that the document describes.
KeptRecord parse_kept(const OrderedJson& json) {
  KeptRecord record;
  record.policy = json.at("policy");
  if (!json.at("budget").is_null()) record.budget = json.at("budget").get<int64_t>();
  record.n_tokens = json.at("n_tokens");
  record.n_layers = json.at("n_layers");
  record.n_kv_heads = json.at("n_kv_heads");
  record.group = json.at("group");
  CHECK(static_cast<int64_t>(json.at("layers").size()) == record.n_layers);
  for (const OrderedJson& layer : json.at("layers")) {
    CHECK(static_cast<int64_t>(layer.at("heads").size()) == record.n_kv_heads);
    for (const OrderedJson& head : layer.at("heads")) {
      record.heads.push_back({head.at("positions"), head.at("masks")});
    }
  }
  return record;
}

}  // namespace

TEST_CASE("kept_json parses back to the record, its masks cut to the group") {
  for (const int64_t group : {1, 3, 32}) {
    CAPTURE(group);
    KeptRecord record = random_kept(97, 3, 2, group, 0.3, static_cast<uint64_t>(group));
    record.heads[1] = {};  // a head that kept nothing
    if (group == 3) record.budget.reset();
    const KeptRecord parsed = parse_kept(OrderedJson::parse(kept_json(record)));
    CHECK(parsed.policy == record.policy);
    CHECK(parsed.budget == record.budget);
    CHECK(parsed.n_tokens == record.n_tokens);
    CHECK(parsed.group == group);
    REQUIRE(parsed.heads.size() == record.heads.size());
    for (size_t i = 0; i < record.heads.size(); ++i) {
      CHECK(parsed.heads[i].position == record.heads[i].position);
      std::vector<uint32_t> masks = record.heads[i].mask;
      for (uint32_t& mask : masks) mask &= group_bits(record);
      CHECK(parsed.heads[i].mask == masks);
    }
  }
}

TEST_CASE("kept_json has its keys in the documented order and a line for each KV head") {
  const KeptRecord record{"sage", 4, 9, 2, 1, 2, {{{0, 5}, {3, 1}}, {{8}, {2}}}};
  CHECK(kept_json(record) ==
        "{\"policy\":\"sage\",\"budget\":4,\"n_tokens\":9,\"n_layers\":2,\"n_kv_heads\":1,"
        "\"group\":2,\"layers\":[\n"
        "{\"heads\":[\n"
        "{\"positions\":[0,5],\"masks\":[3,1]}]},\n"
        "{\"heads\":[\n"
        "{\"positions\":[8],\"masks\":[2]}]}]}\n");
}

TEST_CASE("kept_counts counts every layer's query heads that see a token") {
  for (const int64_t group : {1, 5, 32}) {
    CAPTURE(group);
    const KeptRecord record = random_kept(61, 2, 3, group, 0.4, static_cast<uint64_t>(10 + group));
    const std::vector<int64_t> counts = kept_counts(record);
    REQUIRE(counts.size() == 61);
    for (int64_t t = 0; t < record.n_tokens; ++t) {
      int64_t expected = 0;
      for (int64_t l = 0; l < record.n_layers; ++l) {
        for (int64_t q = 0; q < record.n_kv_heads * group; ++q) {
          if (kept_sees(record, l, q, t)) ++expected;
        }
      }
      CHECK(counts[static_cast<size_t>(t)] == expected);
    }
    CHECK(kept_pairs(record) == 2 * 3 * group);
  }
}

TEST_CASE("kept_rows counts the rows of all heads") {
  const KeptRecord record{"sage", 4, 9, 2, 1, 2, {{{0, 5}, {3, 1}}, {{8}, {2}}}};
  CHECK(kept_rows(record) == 3);
}

TEST_CASE("kept_level begins each level at its share") {
  CHECK(kept_level(0, 0) == 0);
  CHECK(kept_level(0, 1000) == 0);
  CHECK(kept_level(1, 1) == 7);
  const std::vector<std::pair<int64_t, int>> of_1000 = {
      {1, 1},   {9, 1},   {10, 2},  {29, 2},  {30, 3},  {99, 3},  {100, 4},
      {249, 4}, {250, 5}, {499, 5}, {500, 6}, {999, 6}, {1000, 7}};
  for (const auto& [count, level] : of_1000) {
    CAPTURE(count);
    CHECK(kept_level(count, 1000) == level);
  }
}

TEST_CASE("a record that contradicts itself is an internal error") {
  const KeptRecord good{"sage", 4, 9, 1, 1, 2, {{{0, 5}, {3, 1}}}};
  CHECK_NOTHROW(kept_json(good));
  std::vector<KeptRecord> bad(7, good);
  bad[0].heads[0].position = {5, 0};
  bad[1].heads[0].position = {5, 5};
  bad[2].heads[0].position = {0, 9};
  bad[3].heads[0].position = {-1, 5};
  bad[4].heads[0].mask = {3};
  bad[5].n_layers = 2;
  bad[6].group = 33;
  for (const KeptRecord& record : bad) {
    CHECK_THROWS_AS(kept_json(record), Error);
    CHECK_THROWS_AS(kept_counts(record), Error);
  }
}
