// config.json as text, with one key changed.
#pragma once

#include <doctest/doctest.h>

#include <initializer_list>
#include <string>
#include <string_view>

#include "src/base/json.h"
#include "tests/support/expect_error.h"
#include "tests/support/tiny_model.h"
#include "weights/config.h"

namespace winnow::test {

/// A valid config.json with one key set to `value` (JSON text), or removed where that is "-".
inline std::string config_with(const std::string& key, const std::string& value,
                               const TinyModel& model = {}) {
  Json json = Json::parse(tiny_config_json(model));
  if (value == "-") {
    json.erase(key);
  } else {
    json[key] = Json::parse(value);
  }
  return json.dump();
}

inline ModelConfig parse_config_with(const std::string& key, const std::string& value,
                                     const TinyModel& model = {}) {
  return parse_config(config_with(key, value, model), "config.json");
}

/// One line that names the file and holds all of `parts`.
inline void expect_config_rejected(const std::string& text,
                                   std::initializer_list<std::string_view> parts) {
  CAPTURE(text);
  expect_error(ExitCode::kModel, {"config.json:"}, [&] { parse_config(text, "config.json"); });
  expect_error(ExitCode::kModel, parts, [&] { parse_config(text, "config.json"); });
}

}  // namespace winnow::test
