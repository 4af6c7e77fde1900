// CudaDevice's steps of methods that go on choosing rows while text is written: one kernel's
// launcher each.
#include "cuda/cuda_device.h"

namespace winnow::cuda {

void CudaDevice::add_column_sums(const Batch& batch, const Activations& a, const KvRows& kv) {
  cuda::add_column_sums({.type = type_,
                         .n = batch.n,
                         .q = a.q,
                         .lse = a.lse,
                         .stopped = batch.stopped,
                         .heads = heads_,
                         .kv = kv},
                        stream_.get());
}

void CudaDevice::choose_slots(const Batch& batch, const KvRows& kv, int64_t recent, int32_t* slot) {
  cuda::choose_slots(batch, kv, heads_.n_kv_heads, recent, slot, stream_.get());
}

void CudaDevice::stored_scores(const KvRows& kv, const Zones& zones, const ScoreLists& lists) {
  cuda::stored_scores(kv, zones, lists, stream_.get());
}

void CudaDevice::summarize_pages(const KvRows& kv) {
  cuda::summarize_pages(kv, heads_, type_, stream_.get());
}

void CudaDevice::join_page(const Batch& batch, const KvRows& kv) {
  cuda::join_page(kv, batch.stopped, heads_, type_, stream_.get());
}

void CudaDevice::score_pages(const void* q, const KvRows& kv) {
  cuda::score_pages(q, kv, heads_, type_, stream_.get());
}

void CudaDevice::mask_pages(const KvRows& kv) {
  cuda::mask_pages(kv, heads_, stream_.get());
}

}  // namespace winnow::cuda
