#include "tokenizer/json_fields.h"

#include <limits>
#include <utility>

namespace winnow {

JsonFields::JsonFields(const Json& root, std::string_view name)
    : JsonFields(root, std::string(name), true) {}

JsonFields::JsonFields(const Json& object, std::string place, bool is_root)
    : object_(&object), place_(std::move(place)), is_root_(is_root) {
  if (!object.is_object()) reject("is of the type ", object.type_name(), "; expected an object");
}

const Json* JsonFields::find(std::string_view key) const {
  const auto at = object_->find(key);
  return at == object_->end() || at->is_null() ? nullptr : &*at;
}

const Json& JsonFields::required(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) reject(key, " is missing");
  return *value;
}

std::string JsonFields::text(std::string_view key) const {
  const Json& value = required(key);
  if (!value.is_string()) wrong_type(key, value, "a string");
  return value.get<std::string>();
}

std::string JsonFields::text_or(std::string_view key, std::string_view absent) const {
  return find(key) == nullptr ? std::string(absent) : text(key);
}

bool JsonFields::flag_or(std::string_view key, bool absent) const {
  const Json* value = find(key);
  if (value == nullptr) return absent;
  if (!value->is_boolean()) wrong_type(key, *value, "true or false");
  return value->get<bool>();
}

int64_t JsonFields::integer(std::string_view key) const {
  const Json& value = required(key);
  if (!value.is_number_integer()) wrong_type(key, value, "an integer");
  if (value.is_number_unsigned() &&
      value.get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()}) {
    reject(key, " ", value.get<uint64_t>(), " is out of range");
  }
  return value.get<int64_t>();
}

JsonFields JsonFields::object(std::string_view key) const {
  return inner(required(key), key);
}

const Json::object_t& JsonFields::members(std::string_view key) const {
  const Json& value = required(key);
  if (!value.is_object()) wrong_type(key, value, "an object");
  return value.get_ref<const Json::object_t&>();
}

const Json::array_t& JsonFields::array(std::string_view key) const {
  const Json& value = required(key);
  if (!value.is_array()) wrong_type(key, value, "an array");
  return value.get_ref<const Json::array_t&>();
}

std::vector<JsonFields> JsonFields::objects(std::string_view key) const {
  std::vector<JsonFields> out;
  for (const Json& element : array(key)) {
    out.push_back(inner(element, std::string(key) + "[" + std::to_string(out.size()) + "]"));
  }
  return out;
}

JsonFields JsonFields::inner(const Json& value, std::string_view key) const {
  return {value, std::string(place_).append(is_root_ ? ": " : ".").append(key), false};
}

void JsonFields::wrong_type(std::string_view key, const Json& value,
                            std::string_view expected) const {
  reject(quoted(key), " is of the type ", value.type_name(), "; expected ", expected);
}

}  // namespace winnow
