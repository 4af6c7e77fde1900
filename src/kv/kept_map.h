// What was kept, as a page (--kv-map): the text shaded by how many query heads still see each
// token, beside a grid of layers and query heads to pick from.
#pragma once

#include <span>
#include <string>

#include "src/kv/kept.h"

namespace winnow {

/// One HTML document that needs nothing else. What it shows stands in it as JSON, in the script
/// element "kept":
///
///   policy, budget, n_tokens, n_layers, n_kv_heads, group   as in kept_json
///   level_percent   where levels 2.. of kept_shares.h begin
///   pieces          [n_pieces] text as it is shown, see kept_pieces.h
///   joined          [piece, tokens, piece, tokens, ..] of the pieces of more than one token
///   heads           [n_layers * n_kv_heads] the rows of each KV head in runs of successive
///                   positions with one mask: [gap, rows, mask, gap, rows, mask, ..], gap being the
///                   positions from the end of the run before
///
/// No character that means something to HTML stands in that JSON: they are \u escapes.
/// `token_text` [n_tokens] as for kept_text.
std::string kept_map(const KeptRecord& record, std::span<const std::string> token_text);

}  // namespace winnow
