// Reading a JSON object of a file that nobody vouches for: what is absent, null, or of another kind
// than expected.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/error.h"
#include "src/base/json.h"

namespace winnow {

/// One object and where it stands. Its Json must outlive it. Every function fails with kModel and
/// PLACE.KEY where a value is not of the kind that is asked for; null counts as absent.
class JsonFields {
 public:
  /// The whole of the file `name`.
  JsonFields(const Json& root, std::string_view name);

  /// nullptr where it is absent.
  const Json* find(std::string_view key) const;

  std::string text(std::string_view key) const;
  std::string text_or(std::string_view key, std::string_view absent) const;
  bool flag_or(std::string_view key, bool absent) const;
  int64_t integer(std::string_view key) const;
  JsonFields object(std::string_view key) const;
  const Json::object_t& members(std::string_view key) const;
  const Json::array_t& array(std::string_view key) const;

  /// The elements of the array `key`, all of them objects.
  std::vector<JsonFields> objects(std::string_view key) const;

  /// `value`, which stands here under `key`, as an object.
  JsonFields inner(const Json& value, std::string_view key) const;

  /// Fails: "PLACE: parts".
  template <class... Parts>
  [[noreturn]] void reject(const Parts&... parts) const {
    fail(ExitCode::kModel, place_, ": ", parts...);
  }

  /// Fails: `value` under `key` is not what was `expected`.
  [[noreturn]] void wrong_type(std::string_view key, const Json& value,
                               std::string_view expected) const;

 private:
  JsonFields(const Json& object, std::string place, bool is_root);

  const Json& required(std::string_view key) const;

  const Json* object_;
  std::string place_;  // "FILE", "FILE: model", "FILE: model.vocab"
  bool is_root_;
};

}  // namespace winnow
