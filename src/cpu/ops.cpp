#include "src/cpu/ops.h"

#include <algorithm>
#include <cmath>

#include "src/base/splitmix.h"
#include "src/cpu/simd.h"

namespace winnow::cpu {

void fill_random(void* to, DType type, uint64_t n, uint64_t seed, float scale) {
  const float amplitude = 1.7320508F * scale;
  with_dtype(type, [&]<class T>(const T*) {
    T* elements = static_cast<T*>(to);
#pragma omp parallel for schedule(static)
    for (uint64_t i = 0; i < n; ++i) {
      const uint64_t bits = splitmix64(seed, i);
      const float u = static_cast<float>(static_cast<int32_t>(bits >> 40) - (1 << 23)) * 0x1p-23F;
      elements[i] = from_float<T>(amplitude * u);
    }
  });
}

void rmsnorm(const float* x, const float* weight, float eps, int64_t n, int64_t size, float* y) {
#pragma omp parallel for schedule(static) if (n > 1)
  for (int64_t i = 0; i < n; ++i) {
    const float* row = x + i * size;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < size; ++j) sum += row[j] * row[j];
    const float scale = 1.0F / std::sqrt(sum / static_cast<float>(size) + eps);
    for (int64_t j = 0; j < size; ++j) y[i * size + j] = weight[j] * (row[j] * scale);
  }
}

// Angles are rounded to fp32, as they were when the models were trained: at long positions the
// rounding is part of what the weights have learned.
void rope_angles(int32_t position, const RopeFrequencies& frequencies, int64_t head_dim,
                 float* cos_sin) {
  const int64_t half = head_dim / 2;
  for (int64_t i = 0; i < half; ++i) {
    const double angle = static_cast<float>(position) * frequencies.value[i];
    cos_sin[i] = static_cast<float>(std::cos(angle)) * frequencies.scale;
    cos_sin[half + i] = static_cast<float>(std::sin(angle)) * frequencies.scale;
  }
}

void add_bias(const float* bias, int64_t n, int64_t size, float* x) {
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < size; ++j) x[i * size + j] += bias[j];
  }
}

void rope(const float* x, const float* cos_sin, int64_t n_heads, int64_t head_dim, float* y) {
  const int64_t half = head_dim / 2;
  for (int64_t h = 0; h < n_heads; ++h) {
    const float* in = x + h * head_dim;
    float* out = y + h * head_dim;
    for (int64_t i = 0; i < half; ++i) {
      const float a = in[i];
      const float b = in[i + half];
      out[i] = a * cos_sin[i] - b * cos_sin[half + i];
      out[i + half] = b * cos_sin[i] + a * cos_sin[half + i];
    }
  }
}

void swiglu(const float* gate_up, int64_t n, int64_t size, float* h) {
#pragma omp parallel for schedule(static) if (n > 1)
  for (int64_t i = 0; i < n; ++i) {
    const float* gate = gate_up + i * 2 * size;
    const float* up = gate + size;
    int64_t j = 0;
    for (; j + kLanes <= size; j += kLanes) {
      const Vec z = load(gate + j);
      store(h + i * size + j, z / (1.0F + cpu::exp(-z)) * load(up + j));
    }
    for (; j < size; ++j) h[i * size + j] = gate[j] / (1.0F + cpu::exp(-gate[j])) * up[j];
  }
}

void embed(const Matrix& table, const Batch& batch) {
  with_dtype(table.type, [&]<class T>(const T*) {
    const T* rows = static_cast<const T*>(table.data);
    for (int64_t i = 0; i < batch.n; ++i) {
      const T* row = rows + batch.token[i] * table.cols;
      std::transform(row, row + table.cols, batch.x + i * table.cols,
                     [](T v) { return to_float(v); });
    }
  });
}

}  // namespace winnow::cpu
