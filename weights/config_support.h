// What the forward pass does not compute, told by the keys of config.json.
#pragma once

#include "weights/config_reader.h"

namespace winnow {

/// Fails with kModel, naming the key, where a model needs something that is not implemented: other
/// block layouts, biases, sliding windows, experts, quantized weights, scaled logits, ...
void refuse_unsupported(const ConfigReader& config);

/// The base of the rotary frequencies: rope_theta at the top, in rope_parameters or in
/// rope_scaling; 10000 where none names it. Fails with kModel where they disagree, or for any
/// other rope_type than "default".
double read_rope_theta(const ConfigReader& config);

}  // namespace winnow
