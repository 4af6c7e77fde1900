#include "src/cli/version.h"

#define PCRE2_CODE_UNIT_WIDTH 8  // pcre2.h asks for it
#include <pcre2.h>
#include <utf8proc.h>

#include <CLI/Version.hpp>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "src/bench/commit.h"

// Neither of the two says its version in a header: the Makefile asks pkg-config, if that is there.
#if !defined(WINNOW_SENTENCEPIECE)
#define WINNOW_SENTENCEPIECE ""
#endif
#if !defined(WINNOW_LIBEDIT)
#define WINNOW_LIBEDIT ""
#endif

namespace winnow {
namespace {

std::string pcre2_version() {
  const int bytes = pcre2_config(PCRE2_CONFIG_VERSION, nullptr);  // with the final NUL
  std::string text(bytes > 0 ? static_cast<size_t>(bytes) : 0, '\0');
  if (text.empty() || pcre2_config(PCRE2_CONFIG_VERSION, text.data()) < 0) return {};
  return text.substr(0, text.find_first_of(std::string(" \0", 2)));  // "10.42 2022-12-11"
}

std::string json_version() {
  return std::to_string(NLOHMANN_JSON_VERSION_MAJOR) + "." +
         std::to_string(NLOHMANN_JSON_VERSION_MINOR) + "." +
         std::to_string(NLOHMANN_JSON_VERSION_PATCH);
}

/// "NAME 1.2, ..."; a library whose version is not known is named without it.
std::string libraries() {
  const std::vector<std::pair<std::string, std::string>> all = {
      {"sentencepiece", WINNOW_SENTENCEPIECE},
      {"PCRE2", pcre2_version()},
      {"utf8proc", utf8proc_version()},
      {"nlohmann-json", json_version()},
      {"CLI11", CLI11_VERSION},
      {"libedit", WINNOW_LIBEDIT}};
  std::string text;
  for (const auto& [name, version] : all) {
    if (!text.empty()) text += ", ";
    text += name;
    if (!version.empty()) text.append(" ").append(version);
  }
  return text;
}

}  // namespace

std::string version_text() {
  return std::string("winnow ") + kVersion + ", commit " + built_commit() + "\nbuilt " +
         built_for() + ", by g++ " + __VERSION__ + "\nlibraries: " + libraries() + "\n";
}

}  // namespace winnow
