#include "src/kv/running_cut.h"

#include <array>
#include <cmath>
#include <limits>

#include "src/base/error.h"

namespace winnow {
namespace {

/// Lists begin on multiples of 4 scores.
int64_t round_up(int64_t scores) {
  return (scores + 3) / 4 * 4;
}

}  // namespace

uint64_t RunningCut::scratch_bytes(const ModelConfig& config, const Device& device,
                                   int64_t max_rows, int64_t entries) {
  constexpr uint64_t kAllocations = 10;  // an upper bound, for their alignment
  const int64_t scores = round_up(entries) + config.n_kv_heads * round_up(max_rows);
  const auto segments = static_cast<uint64_t>(config.n_layers * config.n_kv_heads);
  return static_cast<uint64_t>(scores) * sizeof(float) +
         segments * 2 * (sizeof(int32_t) + sizeof(int64_t)) +
         static_cast<uint64_t>(config.n_kv_heads + 1) * sizeof(Cut) +
         device.squeeze_workspace_bytes(round_up(entries)) + kAllocations * Region::kAlignment;
}

RunningCut::RunningCut(const ModelConfig& config, Device& device, int64_t max_rows, int64_t entries)
    : config_(config), device_(device), pool_stride_(round_up(entries)) {
  Region& scratch = device_.scratch_region();
  const int64_t heads = config_.n_kv_heads;
  const int64_t segments = config_.n_layers * heads;
  const int64_t stride = round_up(max_rows);
  const int64_t scores = pool_stride_ + heads * stride;
  WINNOW_CHECK(scores <= std::numeric_limits<int32_t>::max(), "too many rows for one cut");
  all_ = {.n = 1,
          .stride = scores,
          .score = scratch.allocate_array<float>("scores of the model", scores),
          .cut = scratch.allocate_array<Cut>("cut of the model", 1)};
  layer_ = {.n = heads,
            .stride = stride,
            .score = all_.score + pool_stride_,
            .cut = scratch.allocate_array<Cut>("cuts", heads)};
  zone_ = scratch.allocate_array<int32_t>("zone of the model", 4);
  rows_ = scratch.allocate_array<int32_t>("rows of the pool", segments);
  taken_ = scratch.allocate_array<int32_t>("rows that stay", segments);
  move_first_ = scratch.allocate_array<int64_t>("places to move to", segments);
  move_before_ = scratch.allocate_array<int64_t>("rows before", segments);
  workspace_ = scratch.allocate("squeezing", device_.squeeze_workspace_bytes(pool_stride_));
  // No segment yet: all scores become -infinity.
  device_.squeeze_rows({.score = all_.score, .entries = pool_stride_}, all_.cut, {}, workspace_);
}

std::vector<Cut> RunningCut::cut(KvStore& store, int64_t n) {
  const auto length = static_cast<int32_t>(all_.stride);
  WINNOW_CHECK(n <= std::numeric_limits<int32_t>::max(), "too many rows for one cut");
  const std::array<int32_t, 4> zone = {length, 0, length, static_cast<int32_t>(n)};
  device_.upload(zone_, zone.data(), sizeof(zone));
  device_.top_k(
      {.rows = zone_, .begin = zone_ + 1, .end = zone_ + 2, .k = zone_ + 3, .max_rows = length},
      all_);
  Cut cut;
  device_.download(&cut, all_.cut, sizeof(cut));
  if (std::isnan(cut.score)) {
    fail(ExitCode::kInternal, "layer ", store.n_layers(), ": an attention score is NaN");
  }
  if (store.n_layers() > 0) squeeze(store);
  return split_cut(cut, pool_stride_, layer_.stride, layer_.n);
}

void RunningCut::squeeze(KvStore& store) {
  RowPool pool = store.pool();
  const auto n = static_cast<size_t>(pool.n_segments);
  std::vector<int32_t> rows, taken(n);
  std::vector<int64_t> before;
  for (int64_t l = 0; l < store.n_layers(); ++l) {
    for (const HeadRows& head : store.heads(l)) rows.push_back(head.rows);
  }
  device_.upload(rows_, rows.data(), n * sizeof(int32_t));
  pool.score = all_.score;
  pool.first = store.layer(0).first;
  pool.rows = rows_;
  device_.count_taken(pool, all_.cut, taken_);
  device_.download(taken.data(), taken_, n * sizeof(int32_t));
  RowMove move{.first = move_first_, .before = move_before_};
  for (const int32_t stay : taken) {
    before.push_back(move.total);
    move.total += stay;
  }
  const std::vector<int64_t> first = store.places_of(taken);
  device_.upload(move_first_, first.data(), n * sizeof(int64_t));
  device_.upload(move_before_, before.data(), n * sizeof(int64_t));
  if (taken != rows) device_.squeeze_rows(pool, all_.cut, move, workspace_);
  store.squeeze(taken);
}

void RunningCut::add_layer(const KvStore& store, const KeptRows& kept) {
  const KvRows layer = store.layer(store.n_layers() - 1);
  device_.take_scores(layer_, kept, layer.first, all_.score);
}

}  // namespace winnow
