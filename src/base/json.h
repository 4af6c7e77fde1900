// Strict JSON for files that nobody vouches for.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace winnow {

using Json = nlohmann::json;

/// Parses `text`, the contents of the file that `name` names. Fails with kModel and
/// NAME:LINE:COLUMN for anything but exactly one JSON value: a byte order mark, comments, duplicate
/// keys (compared after unescaping), nesting deeper than 32, more than 4,000,000 values, invalid
/// UTF-8, trailing text. Columns count bytes.
Json parse_json(std::string_view text, std::string_view name);

}  // namespace winnow
