// Rotary positions, as config.json describes them: rope_theta and rope_scaling of transformers 4,
// rope_parameters of transformers 5.
#pragma once

#include "weights/config.h"
#include "weights/config_reader.h"

namespace winnow {

/// Fills rope_theta and rope; head_dim and max_positions are known. Both objects may be there if
/// they say the same. Fails with kModel for other kinds of scaling, for keys that do not belong to
/// the kind, and for values that the formulas have no meaning for.
void read_rope(const ConfigReader& reader, ModelConfig& config);

}  // namespace winnow
