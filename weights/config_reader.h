// Typed access to the keys of a configuration file; every complaint names the file and the key.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/error.h"
#include "src/base/json.h"

namespace winnow {

/// One JSON object of a file. null counts as absent, as in transformers. Fails with kModel for
/// values of another type or out of range.
class ConfigReader {
 public:
  /// `file` names the file; `prefix` leads to this object within it, e.g. "rope_scaling.". Both
  /// must outlive the reader, as must `object`.
  ConfigReader(const Json& object, std::string_view file, std::string_view prefix = "");

  /// The value, or nullptr where it is absent or null.
  const Json* find(const char* key) const;

  int64_t integer(const char* key, int64_t min, int64_t max) const;  // must be there
  std::optional<int64_t> optional_integer(const char* key, int64_t min, int64_t max) const;
  std::optional<double> optional_number(const char* key, double min, double max) const;
  std::optional<std::string> optional_string(const char* key) const;
  bool boolean_or(const char* key, bool fallback) const;

  /// One token id or a list of them, each below `vocab_size`; empty where absent.
  std::vector<int32_t> token_ids(const char* key, int64_t vocab_size) const;

  /// Fails with "FILE: KEY" and the parts.
  template <class... Parts>
  [[noreturn]] void reject(std::string_view key, const Parts&... parts) const {
    fail(ExitCode::kModel, file_, ": ", prefix_, key, parts...);
  }

  const Json& object() const { return object_; }
  std::string_view file() const { return file_; }

 private:
  const Json& object_;
  std::string_view file_;
  std::string_view prefix_;
};

/// A value as a message shows it: numbers and words as they are, strings quoted, "a list".
std::string describe(const Json& value);

}  // namespace winnow
