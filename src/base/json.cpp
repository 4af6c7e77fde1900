#include "src/base/json.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <utility>
#include <vector>

#include "src/base/error.h"
#include "src/base/file.h"

namespace winnow {
namespace {

constexpr size_t kMaxDepth = 32;
constexpr size_t kMaxValues = 4'000'000;  // bounds the memory that a short text can ask for

/// An iterator over text that tells how far the parser has read.
class ReadPosition {
 public:
  using iterator_category = std::forward_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  ReadPosition() = default;
  ReadPosition(const char* at, const char** furthest) : at_(at), furthest_(furthest) {}

  reference operator*() const { return *at_; }
  ReadPosition& operator++() {
    *furthest_ = ++at_;
    return *this;
  }
  ReadPosition operator++(int) {
    const ReadPosition before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(const ReadPosition& a, const ReadPosition& b) { return a.at_ == b.at_; }

 private:
  const char* at_ = nullptr;
  const char** furthest_ = nullptr;
};

/// The parser's own words, without its prefix ("[json.exception...] parse error at line 1, column
/// 2: syntax error while parsing value - ") and without the text that it read last.
std::string plain_reason(const Json::exception& error) {
  constexpr int kNumberOverflow = 406;
  if (error.id == kNumberOverflow) return "the number is too large";
  std::string reason = error.what();
  const size_t prefix = reason.find(" - ");
  if (prefix != std::string::npos) reason.erase(0, prefix + 3);
  const size_t last_read = reason.find("; last read: ");
  if (last_read != std::string::npos) reason.erase(last_read);
  return reason;
}

/// Builds the tree from the parser's events. open_ holds the containers that are not closed yet,
/// from the outside to the inside; slot_ is where the value of the last key belongs.
class TreeBuilder : public nlohmann::json_sax<Json> {
 public:
  TreeBuilder(std::string_view text, std::string_view name)
      : text_(text), name_(name), furthest_(text.data()) {}

  Json build() {
    const char* end = text_.data() + text_.size();
    const size_t nul = text_.find('\0');
    if (nul != std::string_view::npos) {  // the parser would take it for the end of the text
      furthest_ = text_.data() + nul + 1;
      reject("a NUL byte");
    }
    Json::sax_parse(ReadPosition(text_.data(), &furthest_), ReadPosition(end, &furthest_), this);
    return std::move(root_);
  }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // not in text

  bool start_object(size_t) override { return open(Json::object()); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& value) override {
    auto& members = open_.back()->get_ref<Json::object_t&>();
    const auto [member, is_new] = members.try_emplace(value, nullptr);
    if (!is_new) reject("duplicate key " + quoted(value));
    slot_ = &member->second;
    return true;
  }

  bool parse_error(size_t n_read, const std::string&, const Json::exception& error) override {
    furthest_ = text_.data() + std::min(n_read, text_.size());  // without what was read ahead
    reject(plain_reason(error));
  }

 private:
  /// Puts `value` where it belongs and returns the place.
  Json* place(Json value) {
    if (++n_values_ > kMaxValues) reject("more than " + std::to_string(kMaxValues) + " values");
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (open_.back()->is_array()) {
      auto& elements = open_.back()->get_ref<Json::array_t&>();
      return &elements.emplace_back(std::move(value));
    }
    *slot_ = std::move(value);
    return slot_;
  }

  bool add(Json value) {
    place(std::move(value));
    return true;
  }

  bool open(Json container) {
    if (open_.size() == kMaxDepth) {
      reject("nesting deeper than " + std::to_string(kMaxDepth));
    }
    open_.push_back(place(std::move(container)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  /// Fails with the place of the byte that was read last, counted from 1; columns are bytes.
  [[noreturn]] void reject(const std::string& reason) const {
    const auto n_read = static_cast<size_t>(furthest_ - text_.data());
    const std::string_view before = text_.substr(0, n_read == 0 ? 0 : n_read - 1);
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const size_t newline = before.rfind('\n');
    const size_t line_start = newline == std::string_view::npos ? 0 : newline + 1;
    fail(ExitCode::kModel, name_, ":", line, ":", before.size() - line_start + 1, ": ", reason);
  }

  std::string_view text_;
  std::string_view name_;
  const char* furthest_;  // one past the last byte read
  Json root_;
  std::vector<Json*> open_;
  Json* slot_ = nullptr;
  size_t n_values_ = 0;
};

}  // namespace

Json parse_json(std::string_view text, std::string_view name) {
  if (text.starts_with("\xef\xbb\xbf")) {
    fail(ExitCode::kModel, name, ":1:1: starts with a byte order mark");
  }
  if (!text.starts_with('{') && !text.starts_with('[')) {
    const std::string_view meaning = sniff_wrong_format(text);
    if (!meaning.empty()) fail(ExitCode::kModel, name, ": ", meaning);
  }
  return TreeBuilder(text, name).build();
}

}  // namespace winnow
