#include "src/cpu/pages.h"

#include <algorithm>
#include <limits>

#include "src/cpu/threads.h"

namespace winnow::cpu {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

int64_t pages_for(int64_t rows) {
  return (rows + kPageRows - 1) / kPageRows;
}

/// Row r of KV head h joins its page, which it begins if it is the page's first.
void join(const ModelConfig& config, const KvRows& kv, int64_t h, int64_t r) {
  const int64_t head_dim = config.head_dim;
  const float* const k = static_cast<const float*>(kv.k) + (kv.first[h] + r) * head_dim;
  float* const least = static_cast<float*>(kv.pages.keys) + kv.page_of(h, r) * 2 * head_dim;
  float* const greatest = least + head_dim;
  const bool begins = r % kPageRows == 0;
  for (int64_t d = 0; d < head_dim; ++d) {
    least[d] = begins ? k[d] : std::min(least[d], k[d]);
    greatest[d] = begins ? k[d] : std::max(greatest[d], k[d]);
  }
}

/// sum over d of max(q_d m_d, q_d M_d).  page [2, head_dim]
float bound(const float* q, const float* page, int64_t head_dim) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t d = 0; d < head_dim; ++d) sum += std::max(q[d] * page[d], q[d] * page[head_dim + d]);
  return sum;
}

}  // namespace

void summarize_pages(const ModelConfig& config, const KvRows& kv) {
  for (int64_t h = 0; h < config.n_kv_heads; ++h) {
    const int64_t n_pages = pages_for(kv.slot[h]);
#pragma omp parallel for schedule(static) if (kv.slot[h] * config.head_dim >= kParallelWork)
    for (int64_t page = 0; page < n_pages; ++page) {
      const int64_t end = std::min<int64_t>((page + 1) * kPageRows, kv.slot[h]);
      for (int64_t r = page * kPageRows; r < end; ++r) join(config, kv, h, r);
    }
  }
}

void join_page(const ModelConfig& config, const KvRows& kv) {
  for (int64_t h = 0; h < config.n_kv_heads; ++h) join(config, kv, h, kv.slot[h]);
}

void score_pages(const ModelConfig& config, const float* q, const KvRows& kv) {
  const KvPages& pages = kv.pages;
  const int64_t head_dim = config.head_dim;
  for (int64_t h = 0; h < config.n_kv_heads; ++h) {
    const int64_t n = pages_for(kv.visible[h]) - 1;
    pages.zone[h] = 0;
    pages.zone[config.n_kv_heads + h] = static_cast<int32_t>(n);
    pages.zone[2 * config.n_kv_heads + h] = static_cast<int32_t>(pages.n_read - 1);
    const int32_t start = kv.window_start(h, 0);
    const float* const keys =
        static_cast<const float*>(pages.keys) + kv.page_of(h, 0) * 2 * head_dim;
    for (int64_t head = h * config.group(); head < (h + 1) * config.group(); ++head) {
      for (int64_t page = 0; page < n; ++page) {
        const int64_t last = kv.first[h] + page * kPageRows + kPageRows - 1;
        const float score = bound(q + head * head_dim, keys + page * 2 * head_dim, head_dim);
        pages.score[head * pages.stride + page] =
            kv.in_window(last, start) ? score : kMinusInfinity;
      }
    }
  }
}

void mask_pages(const ModelConfig& config, const KvRows& kv) {
  const KvPages& pages = kv.pages;
  const int64_t group = config.group();
  for (int64_t h = 0; h < config.n_kv_heads; ++h) {
    const int64_t n = pages_for(kv.visible[h]);
    for (int64_t page = 0; page < n; ++page) {
      uint32_t readers = page == n - 1 ? kSeenByAll : 0;
      for (int64_t g = 0; page < n - 1 && g < group; ++g) {
        const int64_t head = h * group + g;
        const float score = pages.score[head * pages.stride + page];
        if (pages.cut[head].takes(score, page)) readers |= 1U << g;
      }
      const int64_t end = std::min<int64_t>((page + 1) * kPageRows, kv.visible[h]);
      for (int64_t r = page * kPageRows; r < end; ++r) {
        pages.mask[kv.first[h] + r] = kv.mask[kv.first[h] + r] & readers;
      }
    }
  }
}

}  // namespace winnow::cpu
