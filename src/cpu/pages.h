// Pages of rows that decode steps choose among, one function each; see Device, whose steps these
// are. K/V rows and queries are fp32.
#pragma once

#include "src/kv/rows.h"
#include "weights/config.h"

namespace winnow::cpu {

/// The least and the greatest of each channel of k, page by page, for rows [0, slot[h]).
void summarize_pages(const ModelConfig& config, const KvRows& kv);

/// Row slot[h] joins its page.
void join_page(const ModelConfig& config, const KvRows& kv);

/// A bound on q k for the keys of each page but the last, and the zones that these are.
/// q [n_heads, head_dim] fp32
void score_pages(const ModelConfig& config, const float* q, const KvRows& kv);

/// Which query heads read each row.
void mask_pages(const ModelConfig& config, const KvRows& kv);

}  // namespace winnow::cpu
