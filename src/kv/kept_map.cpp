#include "src/kv/kept_map.h"

#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "src/base/error.h"
#include "src/kv/kept_dump.h"
#include "src/kv/kept_map_controls.h"
#include "src/kv/kept_map_page.h"
#include "src/kv/kept_map_script.h"
#include "src/kv/kept_pieces.h"
#include "src/kv/kept_shares.h"

namespace winnow {
namespace {

using OrderedJson = nlohmann::ordered_json;

/// The head's rows as [gap, rows, mask, ..].
std::vector<int64_t> runs_of(const KeptHead& head, uint32_t bits) {
  std::vector<int64_t> runs;
  int64_t end = 0;    // of the last run
  uint32_t mask = 0;  // of the last run
  for (size_t r = 0; r < head.position.size(); ++r) {
    const int64_t position = head.position[r];
    const uint32_t row_mask = head.mask[r] & bits;
    if (!runs.empty() && position == end && row_mask == mask) {
      ++runs[runs.size() - 2];
    } else {
      runs.insert(runs.end(), {position - end, 1, row_mask});
    }
    end = position + 1;
    mask = row_mask;
  }
  return runs;
}

OrderedJson document(const KeptRecord& record, std::span<const std::string> token_text) {
  OrderedJson json = kept_numbers(record);
  json["level_percent"] = kKeptLevelPercent;
  for (const char* list : {"pieces", "joined", "heads"}) json[list] = OrderedJson::array();
  OrderedJson& pieces = json["pieces"];
  for (KeptPiece& piece : kept_pieces(token_text)) {
    if (piece.n > 1) {
      json["joined"].push_back(pieces.size());
      json["joined"].push_back(piece.n);
    }
    pieces.push_back(std::move(piece.text));
  }
  const uint32_t bits = group_bits(record);
  for (const KeptHead& head : record.heads) json["heads"].push_back(runs_of(head, bits));
  return json;
}

/// JSON that may stand in HTML: <, > and & can only be inside of strings.
std::string escape_for_html(const std::string& json) {
  std::string out;
  out.reserve(json.size());
  for (const char c : json) {
    switch (c) {
      case '<': out += "\\u003c"; break;
      case '>': out += "\\u003e"; break;
      case '&': out += "\\u0026"; break;
      default: out += c;
    }
  }
  return out;
}

}  // namespace

std::string kept_map(const KeptRecord& record, std::span<const std::string> token_text) {
  WINNOW_CHECK(static_cast<int64_t>(token_text.size()) == record.n_tokens, "a text for each token");
  check_kept(record);
  const std::string json =
      document(record, token_text).dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  std::string page;
  page += kKeptMapHead;
  page += kKeptMapBody;
  page += "<script id=\"kept\" type=\"application/json\">";
  page += escape_for_html(json);
  page += "</script>\n<script>";
  page += kKeptMapScript;
  page += kKeptMapControls;
  page += "</script>\n</body>\n</html>\n";
  return page;
}

}  // namespace winnow
