#include "weights/config_reader.h"

namespace winnow {
namespace {

bool is_integer_in(const Json& value, int64_t min, int64_t max) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    return max >= 0 && number <= static_cast<uint64_t>(max) && static_cast<int64_t>(number) >= min;
  }
  return value.is_number_integer() && value.get<int64_t>() >= min && value.get<int64_t>() <= max;
}

}  // namespace

std::string describe(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  if (value.is_string()) return quoted(value.get_ref<const std::string&>());
  return value.dump();
}

ConfigReader::ConfigReader(const Json& object, std::string_view file, std::string_view prefix)
    : object_(object), file_(file), prefix_(prefix) {
  if (!object.is_object()) fail(ExitCode::kModel, file, ": is not a JSON object");
}

const Json* ConfigReader::find(const char* key) const {
  const auto at = object_.find(key);
  return at == object_.end() || at->is_null() ? nullptr : &*at;
}

int64_t ConfigReader::integer(const char* key, int64_t min, int64_t max) const {
  const std::optional<int64_t> value = optional_integer(key, min, max);
  if (value) return *value;
  reject(key, object_.contains(key) ? " is null" : " is missing", "; it must be an integer from ",
         min, " to ", max);
}

std::optional<int64_t> ConfigReader::optional_integer(const char* key, int64_t min,
                                                      int64_t max) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!is_integer_in(*value, min, max)) {
    reject(key, " is ", describe(*value), "; it must be an integer from ", min, " to ", max);
  }
  return value->get<int64_t>();
}

std::optional<double> ConfigReader::optional_number(const char* key, double min, double max) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number() || !(value->get<double>() >= min && value->get<double>() <= max)) {
    reject(key, " is ", describe(*value), "; it must be a number from ", min, " to ", max);
  }
  return value->get<double>();
}

std::optional<std::string> ConfigReader::optional_string(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) reject(key, " is ", describe(*value), "; it must be a string");
  return value->get<std::string>();
}

bool ConfigReader::boolean_or(const char* key, bool fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) reject(key, " is ", describe(*value), "; it must be true or false");
  return value->get<bool>();
}

std::vector<int32_t> ConfigReader::token_ids(const char* key, int64_t vocab_size) const {
  const Json* value = find(key);
  if (value == nullptr) return {};
  const Json list = value->is_array() ? *value : Json::array({*value});
  std::vector<int32_t> ids;
  for (const Json& id : list) {
    if (!is_integer_in(id, 0, vocab_size - 1)) {
      reject(key, " holds ", describe(id), "; token ids are integers from 0 to ", vocab_size - 1);
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

}  // namespace winnow
