// A Llama in double precision, token by token, whose cache follows the rules of h2o or quest: lists
// of rows, sorted and searched. Apart from the program: it shares no code with it.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "tests/support/tiny_model.h"

namespace winnow::test {

using Numbers = std::vector<double>;

struct SlowEntry {
  int64_t position = 0;
  Numbers k, v;
  double score = 0;
};

/// What a cache does; as it stands here it keeps and reads every row.
struct SlowRules {
  int64_t budget = 0;     // of h2o: rows that a prompt leaves, half of them recent; 0: not h2o
  bool reselect = false;  // later prompts are selected, too
  int64_t pages = 0;      // of quest: pages of 16 rows read in a step, from the third layer on
};

class SlowLlama {
 public:
  SlowLlama(const TinyModel& shape, const SlowRules& rules)
      : m_(shape), rules_(rules), rows_(size_t(shape.n_layers * shape.n_kv_heads)) {
    for (const TestTensor& tensor : tiny_tensors(shape)) {
      const std::vector<float> values = decode(tensor);
      weights_[tensor.name] = Numbers(values.begin(), values.end());
    }
  }

  /// The logits of the last token.
  Numbers prefill(const std::vector<int32_t>& tokens) {
    std::vector<Numbers> x;
    for (const int32_t token : tokens) x.push_back(embedding(token));
    const bool selects = rules_.budget > 0 && (position_ == 0 || rules_.reselect);
    const bool drops = selects && std::ssize(head(0, 0)) + std::ssize(tokens) > rules_.budget;
    for (int64_t l = 0; l < m_.n_layers; ++l) {
      for (size_t i = 0; i < x.size(); ++i) layer(l, x[i], position_ + int64_t(i), false);
      for (int64_t h = 0; h < m_.n_kv_heads && drops; ++h) select(head(l, h));
    }
    replaces_ = replaces_ || drops;
    position_ += std::ssize(tokens);
    return logits(x.back());
  }

  Numbers step(int32_t token) {
    Numbers x = embedding(token);
    for (int64_t l = 0; l < m_.n_layers; ++l) layer(l, x, position_, true);
    position_ += 1;
    return logits(x);
  }

  /// By position.
  std::vector<SlowEntry> rows(int64_t l, int64_t h) {
    std::vector<SlowEntry> rows = head(l, h);
    std::ranges::sort(rows, {}, &SlowEntry::position);
    return rows;
  }

 private:
  using Rows = std::vector<SlowEntry>;

  Rows& head(int64_t l, int64_t h) { return rows_[size_t(l * m_.n_kv_heads + h)]; }
  const Numbers& weight(const std::string& name) const { return weights_.at(name); }

  Numbers embedding(int32_t token) const {
    const auto row = weight("model.embed_tokens.weight").begin() + token * m_.hidden_size;
    return {row, row + m_.hidden_size};
  }

  /// W x.  W [rows, x.size()]
  Numbers product(const std::string& name, const Numbers& x) const {
    const Numbers& w = weight(name);
    Numbers y(w.size() / x.size());
    for (size_t r = 0; r < y.size(); ++r) {
      for (size_t c = 0; c < x.size(); ++c) y[r] += w[r * x.size() + c] * x[c];
    }
    return y;
  }

  Numbers normed(const std::string& name, const Numbers& x) const {
    double sum = 0;
    for (const double value : x) sum += value * value;
    Numbers y = x;
    for (size_t i = 0; i < x.size(); ++i) {
      y[i] *= weight(name)[i] / std::sqrt(sum / double(x.size()) + 1e-5);
    }
    return y;
  }

  Numbers rotated(const Numbers& x, int64_t first, int64_t position) const {
    const int64_t half = m_.head_dim / 2;
    Numbers y(size_t(m_.head_dim), 0.0);
    for (int64_t i = 0; i < half; ++i) {
      const double angle =
          double(position) * std::pow(m_.rope_theta, -2.0 * double(i) / double(m_.head_dim));
      const double a = x[size_t(first + i)], b = x[size_t(first + half + i)];
      y[size_t(i)] = a * std::cos(angle) - b * std::sin(angle);
      y[size_t(half + i)] = b * std::cos(angle) + a * std::sin(angle);
    }
    return y;
  }

  void layer(int64_t l, Numbers& x, int64_t position, bool step) {
    const std::string name = "model.layers." + std::to_string(l) + ".";
    const Numbers in = normed(name + "input_layernorm.weight", x);
    const Numbers q = product(name + "self_attn.q_proj.weight", in);
    const Numbers k = product(name + "self_attn.k_proj.weight", in);
    const Numbers v = product(name + "self_attn.v_proj.weight", in);
    Numbers attention;
    for (int64_t h = 0; h < m_.n_kv_heads; ++h) {
      const int64_t first = h * m_.head_dim;
      const SlowEntry entry = {position, rotated(k, first, position),
                               Numbers(v.begin() + first, v.begin() + first + m_.head_dim), 0};
      Rows& rows = head(l, h);
      if (step && replaces_) {
        *least(rows, position) = entry;
      } else {
        rows.push_back(entry);
      }
      for (int64_t g = 0; g < group(); ++g) {
        const Numbers query = rotated(q, (h * group() + g) * m_.head_dim, position);
        const bool paged = step && rules_.pages > 0 && l >= 2;
        const Numbers out = attend(query, rows, paged);
        attention.insert(attention.end(), out.begin(), out.end());
      }
    }
    add(x, product(name + "self_attn.o_proj.weight", attention));
    const Numbers between = normed(name + "post_attention_layernorm.weight", x);
    Numbers hidden = product(name + "mlp.gate_proj.weight", between);
    const Numbers up = product(name + "mlp.up_proj.weight", between);
    for (size_t i = 0; i < up.size(); ++i) hidden[i] *= up[i] / (1 + std::exp(-hidden[i]));
    add(x, product(name + "mlp.down_proj.weight", hidden));
  }

  static void add(Numbers& x, const Numbers& y) {
    for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }

  int64_t group() const { return m_.n_heads / m_.n_kv_heads; }
  int64_t heavy() const { return rules_.budget / 2; }
  int64_t recent() const { return rules_.budget - heavy(); }

  /// The row that the token of that position goes over: not one of the last `recent`.
  Rows::iterator least(Rows& rows, int64_t position) const {
    Rows::iterator found = rows.end();
    for (auto row = rows.begin(); row != rows.end(); ++row) {
      if (row->position >= position - recent()) continue;
      const bool less = found == rows.end() || row->score < found->score ||
                        (row->score == found->score && row->position < found->position);
      if (less) found = row;
    }
    return found;
  }

  /// The best of the older rows, and the recent ones.
  void select(Rows& rows) const {
    std::ranges::sort(rows, {}, &SlowEntry::position);
    Rows older(rows.begin(), rows.end() - recent());
    std::ranges::stable_sort(older, std::greater<>(), &SlowEntry::score);
    older.resize(size_t(heavy()));
    std::ranges::sort(older, {}, &SlowEntry::position);
    older.insert(older.end(), rows.end() - recent(), rows.end());
    rows = older;
  }

  /// Whether a query reads each of the rows, whose order is that of their positions.
  std::vector<bool> readers(const Numbers& q, const Rows& rows) const {
    const size_t n_pages = (rows.size() + 15) / 16;
    std::vector<std::pair<double, size_t>> order;  // -bound, page
    for (size_t page = 0; page + 1 < n_pages; ++page) {
      double bound = 0;
      for (size_t d = 0; d < q.size(); ++d) {
        double most = -INFINITY;  // of q_d k_d over the page's rows
        for (size_t r = page * 16; r < page * 16 + 16; ++r) {
          most = std::max(most, q[d] * rows[r].k[d]);
        }
        bound += most;
      }
      order.emplace_back(-bound, page);
    }
    std::ranges::sort(order);
    std::vector<bool> reads(rows.size(), false);
    const auto read = [&](size_t page) {
      for (size_t r = page * 16; r < std::min(page * 16 + 16, rows.size()); ++r) reads[r] = true;
    };
    read(n_pages - 1);
    for (size_t i = 0; i < order.size() && i + 1 < size_t(rules_.pages); ++i) read(order[i].second);
    return reads;
  }

  /// softmax(q k / sqrt(d)) v; adds its weights to the scores.
  Numbers attend(const Numbers& q, Rows& rows, bool paged) const {
    const std::vector<bool> reads = paged ? readers(q, rows) : std::vector<bool>(rows.size(), true);
    Numbers weights(rows.size(), 0.0);
    double sum = 0;
    for (size_t r = 0; r < rows.size(); ++r) {
      double score = 0;
      for (size_t d = 0; d < q.size(); ++d) score += q[d] * rows[r].k[d];
      if (reads[r]) weights[r] = std::exp(score / std::sqrt(double(m_.head_dim)));
      sum += weights[r];
    }
    Numbers out(q.size(), 0.0);
    for (size_t r = 0; r < rows.size(); ++r) {
      for (size_t d = 0; d < q.size(); ++d) out[d] += weights[r] / sum * rows[r].v[d];
      rows[r].score += weights[r] / sum / double(group());
    }
    return out;
  }

  Numbers logits(const Numbers& x) const {
    return product(m_.tied ? "model.embed_tokens.weight" : "lm_head.weight",
                   normed("model.norm.weight", x));
  }

  TinyModel m_;
  SlowRules rules_;
  std::map<std::string, Numbers> weights_;
  std::vector<Rows> rows_;  // [n_layers * n_kv_heads]
  int64_t position_ = 0;
  bool replaces_ = false;  // rows were dropped: from then on tokens go over others
};

}  // namespace winnow::test
