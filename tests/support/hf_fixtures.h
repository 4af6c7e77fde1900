// The models of tests/fixtures whose logits transformers computed: see tests/fixtures/README.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "tests/support/temp_dir.h"

namespace winnow::test {

inline const std::filesystem::path kFixtures = "tests/fixtures";

/// Plain Llamas, in fp32.
constexpr const char* kPlainF32[] = {"gqa_f32",  "mha_f32",      "mqa_f32",
                                     "tied_f32", "head_dim_f32", "sharded_f32"};

/// Other families and every kind of RoPE scaling, in fp32.
constexpr const char* kFamiliesF32[] = {"qwen2_f32",
                                        "qwen3_f32",
                                        "qwen3_bias_f32",
                                        "llama_bias_f32",
                                        "mistral_f32",
                                        "mistral_window_f32",
                                        "qwen2_window_f32",
                                        "rope_linear_f32",
                                        "rope_dynamic_f32",
                                        "rope_dynamic_short_f32",
                                        "rope_yarn_f32",
                                        "rope_yarn_keys_f32",
                                        "rope_yarn_mscale_f32",
                                        "rope_llama3_f32"};

/// Those of them that have 64 greedy tokens, too.
constexpr const char* kGreedyF32[] = {"qwen2_f32",        "qwen3_f32",
                                      "llama_bias_f32",   "mistral_window_f32",
                                      "rope_dynamic_f32", "rope_dynamic_short_f32",
                                      "rope_yarn_f32",    "rope_llama3_f32"};

inline nlohmann::json read_fixture(const char* name, const char* file) {
  return nlohmann::json::parse(read_file(kFixtures / name / file));
}

inline std::vector<int32_t> fixture_ids(const char* name) {
  return read_fixture(name, "ids.json")["ids"];
}

}  // namespace winnow::test
