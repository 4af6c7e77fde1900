// Pages for the arena that can be made to fail.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>

#include "src/arena.h"
#include "src/base/error.h"

namespace winnow::test {

inline constexpr uint64_t kMiB = uint64_t{1} << 20;
inline constexpr uint64_t kPage = 2 * kMiB;

/// Host pages whose next commits fail, and which know what is committed.
class FailingPages final : public PageSource {
 public:
  struct State {
    int commits_before_failure = std::numeric_limits<int>::max();
    int64_t committed = 0;  // bytes, packed and apart
    int64_t reserved = 0;
  };
  explicit FailingPages(State& state) : state_(state) {}

  uint64_t page_bytes() const override { return host_->page_bytes(); }
  std::byte* reserve(uint64_t bytes) override {
    state_.reserved += static_cast<int64_t>(bytes);
    return host_->reserve(bytes);
  }
  void unreserve(std::byte* base, uint64_t bytes) override {
    state_.reserved -= static_cast<int64_t>(bytes);
    host_->unreserve(base, bytes);
  }
  void commit(std::byte* at, uint64_t bytes, bool single) override {
    count(bytes);
    host_->commit(at, bytes, single);
  }
  void decommit(std::byte* at, uint64_t bytes) override {
    state_.committed -= static_cast<int64_t>(bytes);
    host_->decommit(at, bytes);
  }
  std::byte* allocate_apart(uint64_t bytes) override {
    count(bytes);
    return host_->allocate_apart(bytes);
  }
  void free_apart(std::byte* block, uint64_t bytes) override {
    state_.committed -= static_cast<int64_t>(bytes);
    host_->free_apart(block, bytes);
  }
  void fill(std::byte* at, uint64_t bytes, uint8_t value) override {
    host_->fill(at, bytes, value);
  }

 private:
  void count(uint64_t bytes) {
    if (state_.commits_before_failure-- <= 0) fail(ExitCode::kMemory, "no more pages");
    state_.committed += static_cast<int64_t>(bytes);
  }

  std::unique_ptr<PageSource> host_ = make_host_pages();
  State& state_;
};

/// The code of the Error that `body` throws, kOk where it throws none; its message in `message`.
inline ExitCode code_of(const std::function<void()>& body, std::string* message = nullptr) {
  try {
    body();
  } catch (const Error& error) {
    if (message != nullptr) *message = error.what();
    return error.code();
  }
  return ExitCode::kOk;
}

}  // namespace winnow::test
