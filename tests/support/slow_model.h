// A tiny Llama in double precision, with an explicit mask of who sees whom: the formula, token by
// token, without a cache.
#pragma once

#include <cmath>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "tests/support/tiny_model.h"

namespace winnow::test {

class SlowModel {
 public:
  using Vector = std::vector<double>;

  /// Whether query head `head` of layer `l` sees token `key`, for token `query` >= `key`.
  using Sees = std::function<bool(int64_t l, int64_t head, int64_t query, int64_t key)>;

  explicit SlowModel(const TinyModel& shape) : c_(shape) {
    for (const TestTensor& tensor : tiny_tensors(shape)) {
      const std::vector<float> values = decode(tensor);
      weights_[tensor.name] = Vector(values.begin(), values.end());
    }
  }

  /// The logits after every token.
  std::vector<Vector> logits(std::span<const int32_t> tokens, const Sees& sees) const {
    std::vector<Vector> x;
    for (const int32_t token : tokens) {
      const Vector& table = weights_.at("model.embed_tokens.weight");
      const auto row = table.begin() + token * c_.hidden_size;
      x.emplace_back(row, row + c_.hidden_size);
    }
    for (int64_t l = 0; l < c_.n_layers; ++l) {
      attend(l, sees, x);
      for (Vector& row : x) mlp(l, row);
    }
    const std::string head = c_.tied ? "model.embed_tokens.weight" : "lm_head.weight";
    for (Vector& row : x) row = times(head, normed("model.norm.weight", row));
    return x;
  }

 private:
  Vector times(const std::string& name, const Vector& x) const {
    const Vector& w = weights_.at(name);
    Vector y(w.size() / x.size(), 0.0);
    for (size_t i = 0; i < w.size(); ++i) y[i / x.size()] += w[i] * x[i % x.size()];
    return y;
  }

  Vector normed(const std::string& name, const Vector& x) const {
    const Vector& w = weights_.at(name);
    double sum = 0;
    for (const double value : x) sum += value * value;
    Vector y = x;
    for (size_t i = 0; i < y.size(); ++i) {
      y[i] *= w[i] / std::sqrt(sum / double(x.size()) + 1e-5);
    }
    return y;
  }

  void turn(Vector& heads, int64_t position) const {
    const int64_t half = c_.head_dim / 2;
    for (size_t first = 0; first < heads.size(); first += size_t(c_.head_dim)) {
      for (int64_t d = 0; d < half; ++d) {
        const double angle =
            double(position) * std::pow(c_.rope_theta, -2.0 * double(d) / double(c_.head_dim));
        double& a = heads[first + size_t(d)];
        double& b = heads[first + size_t(d + half)];
        const double turned = a * std::cos(angle) - b * std::sin(angle);
        b = b * std::cos(angle) + a * std::sin(angle);
        a = turned;
      }
    }
  }

  void attend(int64_t l, const Sees& sees, std::vector<Vector>& x) const {
    const std::string layer = "model.layers." + std::to_string(l) + ".";
    std::vector<Vector> q, k, v;
    for (size_t i = 0; i < x.size(); ++i) {
      const Vector in = normed(layer + "input_layernorm.weight", x[i]);
      q.push_back(times(layer + "self_attn.q_proj.weight", in));
      k.push_back(times(layer + "self_attn.k_proj.weight", in));
      v.push_back(times(layer + "self_attn.v_proj.weight", in));
      turn(q.back(), int64_t(i));
      turn(k.back(), int64_t(i));
    }
    for (size_t i = 0; i < x.size(); ++i) {
      Vector out;
      for (int64_t head = 0; head < c_.n_heads; ++head) {
        const Vector one = head_of(l, head, int64_t(i), sees, q[i], k, v);
        out.insert(out.end(), one.begin(), one.end());
      }
      add(times(layer + "self_attn.o_proj.weight", out), x[i]);
    }
  }

  Vector head_of(int64_t l, int64_t head, int64_t i, const Sees& sees, const Vector& q,
                 const std::vector<Vector>& k, const std::vector<Vector>& v) const {
    const int64_t from = head / (c_.n_heads / c_.n_kv_heads) * c_.head_dim;
    Vector out(size_t(c_.head_dim), 0.0);
    double sum = 0;
    for (int64_t j = 0; j <= i; ++j) {
      if (!sees(l, head, i, j)) continue;
      double score = 0;
      for (int64_t d = 0; d < c_.head_dim; ++d) {
        score += q[size_t(head * c_.head_dim + d)] * k[size_t(j)][size_t(from + d)];
      }
      const double weight = std::exp(score / std::sqrt(double(c_.head_dim)));
      sum += weight;
      for (int64_t d = 0; d < c_.head_dim; ++d) {
        out[size_t(d)] += weight * v[size_t(j)][size_t(from + d)];
      }
    }
    for (double& value : out) value /= sum;
    return out;
  }

  void mlp(int64_t l, Vector& x) const {
    const std::string layer = "model.layers." + std::to_string(l) + ".";
    const Vector in = normed(layer + "post_attention_layernorm.weight", x);
    Vector gate = times(layer + "mlp.gate_proj.weight", in);
    const Vector up = times(layer + "mlp.up_proj.weight", in);
    for (size_t i = 0; i < gate.size(); ++i) gate[i] *= up[i] / (1 + std::exp(-gate[i]));
    add(times(layer + "mlp.down_proj.weight", gate), x);
  }

  static void add(const Vector& more, Vector& x) {
    for (size_t i = 0; i < x.size(); ++i) x[i] += more[i];
  }

  TinyModel c_;
  std::map<std::string, Vector> weights_;
};

}  // namespace winnow::test
