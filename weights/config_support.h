// Which kind of Llama block a network has, and what the forward pass does not compute, told by the
// keys of config.json.
#pragma once

#include "weights/config.h"
#include "weights/config_reader.h"

namespace winnow {

/// The kinds of blocks, by model_type or (old files) by the class in architectures. They differ in
/// what no key says: qwen2 has biases on q, k and v alone, qwen3 norms the heads of q and k, and
/// their sliding windows are off unless use_sliding_window says otherwise.
enum class Family { kLlama, kMistral, kQwen2, kQwen3 };
Family read_family(const ConfigReader& reader);

/// Fails with kModel, naming the key, where a model needs something that is not implemented: other
/// block layouts, biases of the MLP, experts, quantized weights, scaled logits, ...
void refuse_unsupported(const ConfigReader& reader);

/// The window that every layer has, in tokens, or 0 for none. Fails with kModel where layers
/// differ.
int64_t read_window(const ConfigReader& reader, Family family, int64_t n_layers);

}  // namespace winnow
