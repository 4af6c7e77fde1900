#include "src/watch/kernel_name.h"

#include <cxxabi.h>

#include <cstdlib>
#include <memory>

namespace winnow {
namespace {

constexpr size_t kMostCharacters = 80;

void erase_all(std::string& text, const std::string& part) {
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part)) {
    text.erase(at, part.size());
  }
}

/// Where template arguments or function arguments begin.
size_t end_of_name(const std::string& text, const char* stops) {
  const size_t at = text.find_first_of(stops);
  return at == std::string::npos ? text.size() : at;
}

}  // namespace

std::string short_kernel_name(const char* linker_name) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> meaning(
      abi::__cxa_demangle(linker_name, nullptr, nullptr, &status), &std::free);
  if (!meaning) return std::string(linker_name).substr(0, kMostCharacters);
  std::string name = meaning.get();
  erase_all(name, "(anonymous namespace)::");
  if (name.starts_with("void ")) name.erase(0, 5);
  if (!name.starts_with("winnow::")) {
    return name.substr(0, end_of_name(name, "(")).substr(0, kMostCharacters);
  }
  name.resize(end_of_name(name, "<("));
  return name.substr(name.rfind(':') + 1);
}

}  // namespace winnow
