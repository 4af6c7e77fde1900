// The cases of tests/fixtures/scores (see the README there), and rows to score in them.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "src/base/json.h"
#include "src/cpu/cpu_device.h"
#include "tests/npy.h"
#include "tests/support/kv_steps.h"

namespace winnow::test {

struct ScoreFixture {
  explicit ScoreFixture(const std::string& name) : dir("tests/fixtures/scores/" + name) {
    std::ifstream in(dir / "case.json");
    const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    expected = parse_json(text, "case.json");
    config = attention_shape(expected["n_heads"], expected["n_kv_heads"], expected["head_dim"]);
    config.hidden_size = expected["hidden"];
    config.n_layers = expected["n_layers"];
    rows = expected["rows"];
    budget = expected["budget"];
    window = expected["window"];
  }

  /// What an array has for one layer.
  std::vector<float> array(const std::string& name, int64_t layer) const {
    const NpyArray<float> all = read_npy<float>(dir / (name + ".npy"));
    const auto size = std::ptrdiff_t(all.values.size()) / all.shape[0];
    return {all.values.begin() + layer * size, all.values.begin() + (layer + 1) * size};
  }

  /// The layer's rows, seen by all.
  TestLayer layer(int64_t l) const {
    TestLayer layer(config, std::vector<int32_t>(size_t(config.n_kv_heads), int32_t(rows)), 1);
    const std::vector<float> k = array("k", l), v = array("v", l);
    const int64_t head = rows * config.head_dim;
    for (int64_t h = 0; h < config.n_kv_heads; ++h) {
      const int64_t entry = layer.first[size_t(h)];
      std::copy_n(&k[size_t(h * head)], head, &layer.k[size_t(entry * config.head_dim)]);
      std::copy_n(&v[size_t(h * head)], head, &layer.v[size_t(entry * config.head_dim)]);
      for (int64_t r = 0; r < rows; ++r) {
        layer.position[size_t(entry + r)] = int32_t(r);
        layer.mask[size_t(entry + r)] = kSeenByAll;
      }
    }
    return layer;
  }

  /// Zones of all KV heads: `sink` rows, `recent` rows, and what is left of the budget between.
  TestZones zones(int64_t sink, int64_t recent) const {
    TestZones zones(std::vector<int32_t>(size_t(config.n_kv_heads), int32_t(rows)));
    zones.begin.assign(zones.rows.size(), int32_t(sink));
    zones.end.assign(zones.rows.size(), int32_t(rows - recent));
    zones.k.assign(zones.rows.size(), int32_t(budget - sink - recent));
    return zones;
  }

  std::filesystem::path dir;
  Json expected;  // case.json
  ModelConfig config;
  int64_t rows = 0;
  int64_t budget = 0;
  int64_t window = 0;
};

using RowLists = std::vector<std::vector<int32_t>>;

inline constexpr const char* kScoreFixtures[] = {"gqa", "odd"};

/// Calls check(fixture, layer number, rows, device) for every layer of every case.
template <class F>
void for_layers(F&& check) {
  for (const char* name : kScoreFixtures) {
    const ScoreFixture fixture(name);
    const auto device = make_cpu_device(fixture.config, 2);
    for (int64_t l = 0; l < fixture.config.n_layers; ++l) {
      CAPTURE(name);
      CAPTURE(l);
      TestLayer layer = fixture.layer(l);
      check(fixture, l, layer, *device);
    }
  }
}

/// The greatest error of the lists' first `n` scores, relative to the greatest score.
/// expected [lists.n, n]
inline double error_of(TestLists& lists, const std::vector<float>& expected, int64_t n) {
  double most = 0, error = 0;
  for (int64_t i = 0; i < lists.n; ++i) {
    for (int64_t r = 0; r < n; ++r) {
      const double e = expected[size_t(i * n + r)];
      const double difference = std::fabs(lists.at(i, r) - e);
      if (!(difference <= error)) error = difference;
      most = std::max(most, std::fabs(e));
    }
  }
  return error / most;
}

inline TestLists lists_for(const ScoreFixture& fixture, int64_t n) {
  return {n, fixture.rows};
}

/// What case.json says that a method keeps: a list for each KV head, or one for all of them.
inline RowLists expected_rows(const ScoreFixture& fixture, int64_t layer, const char* method) {
  const Json& kept = fixture.expected["layers"][size_t(layer)][method];
  if (kept[0].is_array()) return kept.get<RowLists>();
  return RowLists(size_t(fixture.config.n_kv_heads), kept.get<std::vector<int32_t>>());
}

/// The rows that each KV head keeps, by the device's own selection.
inline RowLists rows_kept(Device& device, TestLayer& layer, const TestZones& zones,
                          TestLists& lists) {
  TestKept kept(layer.config.n_kv_heads, zones.view().max_rows);
  device.top_k(zones.view(), lists.view());
  device.list_kept(layer.view(), zones.view(), lists.view(), kept.view());
  RowLists rows;
  for (int64_t h = 0; h < layer.config.n_kv_heads; ++h) {
    const auto* first = &kept.row[size_t(h * kept.stride)];
    rows.emplace_back(first, first + kept.count[size_t(h)]);
  }
  return rows;
}

}  // namespace winnow::test
