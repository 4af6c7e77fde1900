// The steps of the CPU over memory that is watched: pages so small that nothing is left over by
// rounding, of which any can be refused; fresh and returned memory is NaN; and pages leave as those
// of a GPU do, in the blocks in which they came.
#pragma once

#include <doctest/doctest.h>
#include <sys/mman.h>

#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "src/arena.h"
#include "src/base/error.h"
#include "src/cpu/cpu_device.h"
#include "src/model.h"

namespace winnow::test {

/// See cuda/pages.cpp: all pages of a commit but the last are one block, unless they are `single`.
class BlockPages final : public PageSource {
 public:
  struct State {
    uint64_t page_bytes = 256;
    int commits_before_failure = std::numeric_limits<int>::max();
    uint64_t committed = 0;  // bytes
  };
  explicit BlockPages(State& state) : state_(state) {}

  uint64_t page_bytes() const override { return state_.page_bytes; }
  std::byte* reserve(uint64_t bytes) override {
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(at != MAP_FAILED);
    return static_cast<std::byte*>(at);
  }
  void unreserve(std::byte* base, uint64_t bytes) override { munmap(base, bytes); }

  void commit(std::byte* at, uint64_t bytes, bool single) override {
    REQUIRE(bytes > 0);
    if (state_.commits_before_failure-- <= 0) fail(ExitCode::kMemory, "no more pages");
    const uint64_t page = state_.page_bytes;
    const uint64_t block = single ? page : bytes - page;
    for (uint64_t done = 0; done + page < bytes; done += block) map(at + done, block);
    map(at + bytes - page, page);
    state_.committed += bytes;
    fill(at, bytes, 0xFF);
  }

  void decommit(std::byte* at, uint64_t bytes) override {
    uint64_t unmapped = 0;
    auto block = blocks_.lower_bound(at);
    while (block != blocks_.end() && block->first + block->second <= at + bytes) {
      unmapped += block->second;
      block = blocks_.erase(block);
    }
    CHECK(unmapped == bytes);
    state_.committed -= bytes;
    fill(at, bytes, 0xFF);
  }

  std::byte* allocate_apart(uint64_t bytes) override {
    return new (std::align_val_t{Region::kAlignment}) std::byte[bytes];
  }
  void free_apart(std::byte* block, uint64_t /*bytes*/) override {
    ::operator delete[](block, std::align_val_t{Region::kAlignment});
  }
  void fill(std::byte* at, uint64_t bytes, uint8_t value) override {
    std::memset(at, value, bytes);
  }

 private:
  void map(std::byte* at, uint64_t bytes) {
    const auto next = blocks_.lower_bound(at);
    CHECK((next == blocks_.end() || next->first >= at + bytes));
    if (next != blocks_.begin()) CHECK(std::prev(next)->first + std::prev(next)->second <= at);
    blocks_[at] = bytes;
  }

  State& state_;
  std::map<std::byte*, uint64_t> blocks_;
};

/// A CPU device whose memory is that of BlockPages.
class TightDevice final : public Device {
 public:
  TightDevice(const ModelConfig& config, BlockPages::State& pages)
      : steps_(make_cpu_device(config, 1)),
        arena_(std::make_unique<BlockPages>(pages), Placement::kPacked) {}

  std::string name() const override { return steps_->name(); }
  std::string driver() const override { return steps_->driver(); }
  uint64_t available_bytes() const override { return steps_->available_bytes(); }
  Ceilings measure_ceilings() override { return steps_->measure_ceilings(); }
  const Arena& arena() const override { return arena_; }
  Region& kv_region(int side) override { return *kv_[side]; }
  Region& scratch_region() override { return *scratch_; }
  DType compute_type() const override { return steps_->compute_type(); }
  int64_t default_prefill_rows() const override { return steps_->default_prefill_rows(); }
  void reserve(const MemoryPlan& plan) override {
    weights_ = &arena_.add_region("weights", plan.weights);
    kv_[0] = &arena_.add_region("kv", plan.kv);
    kv_[1] = &arena_.add_region("kv again", plan.kv_again);
    scratch_ = &arena_.add_region("scratch", plan.scratch);
  }
  uint64_t workspace_bytes(int64_t max_rows) const override {
    return steps_->workspace_bytes(max_rows);
  }

  void* allocate(std::string_view name, uint64_t bytes) override {
    return weights_->allocate(name, bytes);
  }
  void read(void* to, const File& file, uint64_t offset, uint64_t bytes) override {
    steps_->read(to, file, offset, bytes);
  }
  void write(void* to, const void* from, uint64_t bytes) override {
    steps_->write(to, from, bytes);
  }
  void finish() override { steps_->finish(); }
  void upload(void* to, const void* from, uint64_t bytes) override {
    steps_->upload(to, from, bytes);
  }
  void download(void* to, const void* from, uint64_t bytes) override {
    steps_->download(to, from, bytes);
  }
  void copy(void* to, const void* from, uint64_t bytes) override { steps_->copy(to, from, bytes); }
  void clear(void* to, uint64_t bytes) override { steps_->clear(to, bytes); }
  void synchronize() override { steps_->synchronize(); }
  void fill_random(void* to, DType type, uint64_t n, uint64_t seed, float scale) override {
    steps_->fill_random(to, type, n, seed, scale);
  }

  void embed(const Matrix& table, const Batch& batch) override { steps_->embed(table, batch); }
  void qkv(const LayerWeights& w, const Batch& batch, const Activations& a,
           const KvRows& kv) override {
    steps_->qkv(w, batch, a, kv);
  }
  void attention(const Batch& batch, const Activations& a, const KvRows& kv) override {
    steps_->attention(batch, a, kv);
  }
  void attention_output(const LayerWeights& w, const Batch& batch, const Activations& a) override {
    steps_->attention_output(w, batch, a);
  }
  void gate_up(const LayerWeights& w, const Batch& batch, const Activations& a) override {
    steps_->gate_up(w, batch, a);
  }
  void down(const LayerWeights& w, const Batch& batch, const Activations& a) override {
    steps_->down(w, batch, a);
  }
  void logits(const ModelWeights& w, const Batch& batch, const Activations& a,
              float* logits) override {
    steps_->logits(w, batch, a, logits);
  }
  void sample(const float* logits, int32_t n_ids, const SamplerOptions& options,
              const StepState& state) override {
    steps_->sample(logits, n_ids, options, state);
  }
  int32_t take_drawn() override { return steps_->take_drawn(); }
  int64_t steps_ahead() const override { return steps_->steps_ahead(); }
  void advance(const StepState& state) override { steps_->advance(state); }

  void rotate_rows(const KvRows& kv) override { steps_->rotate_rows(kv); }
  void attention_scores(const void* q, const KvRows& kv, const Zones& zones,
                        const ScoreLists& lists) override {
    steps_->attention_scores(q, kv, zones, lists);
  }
  void random_scores(uint64_t seed, const KvRows& kv, const Zones& zones,
                     const ScoreLists& lists) override {
    steps_->random_scores(seed, kv, zones, lists);
  }
  void combine_scores(const ScoreLists& from, GroupScore how, const Zones& zones,
                      const ScoreLists& to) override {
    steps_->combine_scores(from, how, zones, to);
  }
  void window_attention(const void* queries, int64_t n, const KvRows& kv, const Zones& zones,
                        WindowSum how, const ScoreLists& lists) override {
    steps_->window_attention(queries, n, kv, zones, how, lists);
  }
  void value_norms(const LayerWeights& w, const KvRows& kv, const Zones& zones, ValueNorm how,
                   const ScoreLists& lists) override {
    steps_->value_norms(w, kv, zones, how, lists);
  }
  void group_scores(const ScoreLists& from, GroupScore how, const Zones& zones,
                    const ScoreLists& to) override {
    steps_->group_scores(from, how, zones, to);
  }
  void scale_scores(const ScoreLists& lists, float add, const ScoreLists& by,
                    const Zones& zones) override {
    steps_->scale_scores(lists, add, by, zones);
  }
  void pool_scores(const ScoreLists& from, int64_t width, Pool how, const Zones& zones,
                   const ScoreLists& to) override {
    steps_->pool_scores(from, width, how, zones, to);
  }
  void normalize_scores(const ScoreLists& lists, const Zones& zones) override {
    steps_->normalize_scores(lists, zones);
  }
  void promote_scores(const Zones& zones, const ScoreLists& lists) override {
    steps_->promote_scores(zones, lists);
  }
  void output_grams(const LayerWeights& w, float* grams) override {
    steps_->output_grams(w, grams);
  }

  void key_norms(const KvRows& kv, const Zones& zones, const ScoreLists& lists) override {
    steps_->key_norms(kv, zones, lists);
  }
  void key_differences(const KvRows& kv, const Zones& zones, const ScoreLists& lists) override {
    steps_->key_differences(kv, zones, lists);
  }
  void share_scores(const Zones& zones, const ScoreLists& lists) override {
    steps_->share_scores(zones, lists);
  }
  void chunk_scores(const Zones& zones, int64_t length, const ScoreLists& lists) override {
    steps_->chunk_scores(zones, length, lists);
  }
  void add_query_statistics(const Batch& batch, const Activations& a,
                            const QueryStatistics& statistics) override {
    steps_->add_query_statistics(batch, a, statistics);
  }
  void expected_scores(const QueryStatistics& statistics, const Outlook& outlook, const KvRows& kv,
                       const Zones& zones, const ScoreLists& logits,
                       const ScoreLists& lists) override {
    steps_->expected_scores(statistics, outlook, kv, zones, logits, lists);
  }
  void add_column_sums(const Batch& batch, const Activations& a, const KvRows& kv) override {
    steps_->add_column_sums(batch, a, kv);
  }
  void choose_slots(const Batch& batch, const KvRows& kv, int64_t recent, int32_t* slot) override {
    steps_->choose_slots(batch, kv, recent, slot);
  }
  void stored_scores(const KvRows& kv, const Zones& zones, const ScoreLists& lists) override {
    steps_->stored_scores(kv, zones, lists);
  }
  void summarize_pages(const KvRows& kv) override { steps_->summarize_pages(kv); }
  void join_page(const Batch& batch, const KvRows& kv) override { steps_->join_page(batch, kv); }
  void score_pages(const void* q, const KvRows& kv) override { steps_->score_pages(q, kv); }
  void mask_pages(const KvRows& kv) override { steps_->mask_pages(kv); }
  void top_k(const Zones& zones, const ScoreLists& lists) override { steps_->top_k(zones, lists); }
  void set_aside(const Zones& zones, const ScoreLists& lists, float outside) override {
    steps_->set_aside(zones, lists, outside);
  }
  void take_scores(const ScoreLists& lists, const KeptRows& kept, const int64_t* first,
                   float* to) override {
    steps_->take_scores(lists, kept, first, to);
  }
  void count_taken(const RowPool& pool, const Cut* cut, int32_t* taken) override {
    steps_->count_taken(pool, cut, taken);
  }
  void squeeze_rows(const RowPool& pool, const Cut* cut, const RowMove& move,
                    void* workspace) override {
    steps_->squeeze_rows(pool, cut, move, workspace);
  }
  uint64_t squeeze_workspace_bytes(int64_t entries) const override {
    return steps_->squeeze_workspace_bytes(entries);
  }
  void list_kept(const KvRows& kv, const Zones& zones, const ScoreLists& lists,
                 const KeptRows& kept) override {
    steps_->list_kept(kv, zones, lists, kept);
  }
  void gather_rows(const KvRows& from, const KeptRows& kept, const KvRows& to) override {
    steps_->gather_rows(from, kept, to);
  }
  std::unique_ptr<Recording> record(std::function<void()> steps) override {
    return steps_->record(std::move(steps));
  }

 private:
  std::unique_ptr<Device> steps_;
  Arena arena_;
  Region* weights_ = nullptr;
  Region* kv_[2] = {};
  Region* scratch_ = nullptr;
};

}  // namespace winnow::test
