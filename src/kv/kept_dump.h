// What was kept, as JSON for programs (--kv-dump).
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "src/kv/kept.h"

namespace winnow {

/// One JSON document, with a line for each KV head:
///
///   {"policy":"sage","budget":512,"n_tokens":9000,"n_layers":2,"n_kv_heads":2,"group":4,"layers":[
///   {"heads":[
///   {"positions":[0,1,17,..],"masks":[15,15,2,..]},
///   {"positions":[..],"masks":[..]}]},
///   {"heads":[
///   ...
///
/// budget is null where there is none. A mask has only the bits of the group's query heads.
std::string kept_json(const KeptRecord& record);

/// The same without layers: what both the document and the page begin with.
nlohmann::ordered_json kept_numbers(const KeptRecord& record);

}  // namespace winnow
