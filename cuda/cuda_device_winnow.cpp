// CudaDevice's steps of winnowing: one kernel's launcher each.
#include "cuda/cuda_device.h"
#include "cuda/top_k.h"
#include "src/base/error.h"

namespace winnow::cuda {

void CudaDevice::rotate_rows(const KvRows& kv) {
  cuda::rotate_rows(kv, heads_, type_, frequencies_, stream_.get());
}

void CudaDevice::attention_scores(const void* q, const KvRows& kv, const Zones& zones,
                                  const ScoreLists& lists) {
  cuda::attention_scores(q, kv, heads_, type_, zones, lists, stream_.get());
}

void CudaDevice::random_scores(uint64_t seed, const KvRows& kv, const Zones& zones,
                               const ScoreLists& lists) {
  cuda::random_scores(seed, kv, heads_, zones, lists, stream_.get());
}

void CudaDevice::combine_scores(const ScoreLists& from, GroupScore how, const Zones& zones,
                                const ScoreLists& to) {
  cuda::combine_scores(from, how, zones, to, winnow_workspace_, stream_.get());
}

void CudaDevice::window_attention(const void* queries, int64_t n, const KvRows& kv,
                                  const Zones& zones, WindowSum how, const ScoreLists& lists) {
  cuda::window_attention(queries, n, kv, heads_, type_, zones, how, lists, winnow_workspace_,
                         stream_.get());
}

void CudaDevice::value_norms(const LayerWeights& w, const KvRows& kv, const Zones& zones,
                             ValueNorm how, const ScoreLists& lists) {
  WINNOW_CHECK(how != ValueNorm::kOutput || w.o_factor != nullptr, "the layer has no o_factor");
  cuda::value_norms(w, kv, heads_, type_, zones, how, lists, stream_.get());
}

void CudaDevice::group_scores(const ScoreLists& from, GroupScore how, const Zones& zones,
                              const ScoreLists& to) {
  cuda::group_scores(from, how, zones, to, stream_.get());
}

void CudaDevice::scale_scores(const ScoreLists& lists, float add, const ScoreLists& by,
                              const Zones& zones) {
  cuda::scale_scores(lists, add, by, zones, heads_.n_kv_heads, stream_.get());
}

void CudaDevice::pool_scores(const ScoreLists& from, int64_t width, Pool how, const Zones& zones,
                             const ScoreLists& to) {
  cuda::pool_scores(from, width, how, zones, to, heads_.n_kv_heads, stream_.get());
}

void CudaDevice::normalize_scores(const ScoreLists& lists, const Zones& zones) {
  cuda::normalize_scores(lists, zones, heads_.n_kv_heads, winnow_workspace_, stream_.get());
}

void CudaDevice::promote_scores(const Zones& zones, const ScoreLists& lists) {
  cuda::promote_scores(zones, lists, heads_.n_kv_heads, stream_.get());
}

void CudaDevice::output_grams(const LayerWeights& w, float* grams) {
  cuda::output_grams(w.o, heads_, grams, stream_.get());
}

void CudaDevice::key_norms(const KvRows& kv, const Zones& zones, const ScoreLists& lists) {
  cuda::key_norms(kv, heads_, type_, zones, lists, stream_.get());
}

void CudaDevice::key_differences(const KvRows& kv, const Zones& zones, const ScoreLists& lists) {
  cuda::key_differences(kv, heads_, type_, zones, lists, winnow_workspace_, stream_.get());
}

void CudaDevice::share_scores(const Zones& zones, const ScoreLists& lists) {
  cuda::share_scores(zones, lists, stream_.get());
}

void CudaDevice::chunk_scores(const Zones& zones, int64_t length, const ScoreLists& lists) {
  cuda::chunk_scores(zones, length, lists, heads_.n_kv_heads, stream_.get());
}

void CudaDevice::add_query_statistics(const Batch& batch, const Activations& a,
                                      const QueryStatistics& statistics) {
  WINNOW_CHECK(batch.length > 0, "the queries are a prompt's");
  const QueryStatisticsArgs args{.type = type_,
                                 .n = batch.n,
                                 .q = a.q,
                                 .position = batch.position,
                                 .workspace = a.workspace,
                                 .heads = heads_};
  cuda::add_query_statistics(args, rope_frequencies(config_, batch.length), statistics,
                             stream_.get());
}

void CudaDevice::expected_scores(const QueryStatistics& statistics, const Outlook& outlook,
                                 const KvRows& kv, const Zones& zones, const ScoreLists& logits,
                                 const ScoreLists& lists) {
  const ExpectedArgs args{.type = type_,
                          .statistics = statistics,
                          .outlook = outlook,
                          .kv = kv,
                          .heads = heads_,
                          .zones = zones,
                          .workspace = winnow_workspace_};
  const RopeFrequencies frequencies =
      rope_frequencies(config_, outlook.position + outlook.n_tokens);
  const MeanRotation rotation =
      mean_rotation(frequencies, heads_.head_dim, outlook.position, outlook.n_tokens);
  cuda::expected_scores(args, rotation, logits, lists, stream_.get());
}

void CudaDevice::top_k(const Zones& zones, const ScoreLists& lists) {
  cuda::top_k(zones, lists, heads_.n_kv_heads, stream_.get());
}

void CudaDevice::set_aside(const Zones& zones, const ScoreLists& lists, float outside) {
  cuda::set_aside(zones, lists, outside, stream_.get());
}

void CudaDevice::take_scores(const ScoreLists& lists, const KeptRows& kept, const int64_t* first,
                             float* to) {
  cuda::take_scores(lists, kept, first, to, stream_.get());
}

void CudaDevice::count_taken(const RowPool& pool, const Cut* cut, int32_t* taken) {
  cuda::count_taken(pool, cut, taken, stream_.get());
}

void CudaDevice::squeeze_rows(const RowPool& pool, const Cut* cut, const RowMove& move,
                              void* workspace) {
  cuda::squeeze_rows(pool, heads_.head_dim, type_, cut, move, workspace, stream_.get());
}

uint64_t CudaDevice::squeeze_workspace_bytes(int64_t entries) const {
  return cuda::squeeze_workspace_bytes(entries, heads_.head_dim, type_);
}

void CudaDevice::list_kept(const KvRows& kv, const Zones& zones, const ScoreLists& lists,
                           const KeptRows& kept) {
  cuda::list_kept(kv, heads_, zones, lists, kept, winnow_workspace_, stream_.get());
}

void CudaDevice::gather_rows(const KvRows& from, const KeptRows& kept, const KvRows& to) {
  cuda::gather_rows(from, kept, to, heads_, type_, stream_.get());
}

}  // namespace winnow::cuda
