#include "src/kv/kept_dump.h"

#include "src/kv/kept_shares.h"

namespace winnow {
namespace {

using OrderedJson = nlohmann::ordered_json;

/// {"policy":..,"group":..  without the closing brace
std::string open_document(const KeptRecord& record) {
  std::string text =
      kept_numbers(record).dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  text.pop_back();
  return text;
}

std::string head_line(const KeptHead& head, uint32_t bits) {
  std::vector<uint32_t> masks;
  masks.reserve(head.mask.size());
  for (const uint32_t mask : head.mask) masks.push_back(mask & bits);
  return OrderedJson({{"positions", head.position}, {"masks", masks}}).dump();
}

}  // namespace

OrderedJson kept_numbers(const KeptRecord& record) {
  return {
      {"policy", record.policy},
      {"budget", record.budget ? OrderedJson(*record.budget) : OrderedJson()},
      {"n_tokens", record.n_tokens},
      {"n_layers", record.n_layers},
      {"n_kv_heads", record.n_kv_heads},
      {"group", record.group},
  };
}

std::string kept_json(const KeptRecord& record) {
  check_kept(record);
  const uint32_t bits = group_bits(record);
  std::string text = open_document(record) + ",\"layers\":[";
  for (int64_t l = 0; l < record.n_layers; ++l) {
    text += l == 0 ? "\n{\"heads\":[" : ",\n{\"heads\":[";
    for (int64_t h = 0; h < record.n_kv_heads; ++h) {
      text += h == 0 ? "\n" : ",\n";
      text += head_line(record.head(l, h), bits);
    }
    text += "]}";
  }
  return text + "]}\n";
}

}  // namespace winnow
