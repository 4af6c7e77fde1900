// The steps of a device that can be timed by themselves, by name.
#pragma once

#include <array>
#include <string_view>

namespace winnow {

/// What a step takes its size from.
enum class KernelShape {
  kRows,    // a batch of -p rows
  kPrompt,  // a batch of -p rows behind -d rows, of one layer
  kCache,   // one row over a cache of -d tokens, winnowed as the policies say
  kToken,   // one row
  kWinnow,  // -d rows of a layer, where a policy scores them and a budget drops some
};

struct KernelName {
  std::string_view name;
  KernelShape shape;
};

/// In the order of a token's way.
inline constexpr auto kKernelNames = std::to_array<KernelName>({
    {"embed", KernelShape::kRows},
    {"qkv", KernelShape::kRows},
    {"attention_prefill", KernelShape::kPrompt},
    {"attention_decode", KernelShape::kCache},
    {"attention_output", KernelShape::kRows},
    {"gate_up", KernelShape::kRows},
    {"down", KernelShape::kRows},
    {"logits", KernelShape::kToken},
    {"sample", KernelShape::kToken},
    {"attention_scores", KernelShape::kWinnow},
    {"random_scores", KernelShape::kWinnow},
    {"combine_scores", KernelShape::kWinnow},
    {"top_k", KernelShape::kWinnow},
    {"list_kept", KernelShape::kWinnow},
    {"gather_rows", KernelShape::kWinnow},
});

}  // namespace winnow
