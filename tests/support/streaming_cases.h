// What must hold where some KV heads stream, as checks that both devices' tests run.
#pragma once

#include "tests/support/slow_model.h"
#include "tests/support/winnow_cases.h"

namespace winnow::test {

constexpr int64_t kHeadSink = 3;
constexpr int64_t kHeadWindow = 9;

/// Every third head of all is full, the first among them.
inline HeadMask some_streaming(const ModelConfig& c, int64_t sink = kHeadSink,
                               int64_t window = kHeadWindow) {
  HeadMask mask;
  mask.n_kv_heads = c.n_kv_heads;
  mask.sink = sink;
  mask.window = window;
  for (int64_t i = 0; i < c.n_layers * c.n_kv_heads; ++i) mask.full.push_back(i % 3 == 0 ? 1 : 0);
  return mask;
}

inline KvOptions with_mask(KvOptions options, const HeadMask& mask) {
  options.heads.file = "mask.tsv";
  options.heads.mask = std::make_shared<const HeadMask>(mask);
  return options;
}

/// The positions that a head is to hold after `n` tokens, where full heads drop none.
inline std::vector<int32_t> expected_positions(const HeadMask& mask, int64_t l, int64_t h,
                                               int64_t n) {
  std::vector<int32_t> positions;
  for (int64_t p = 0; p < n; ++p) {
    const bool seen = !mask.streams(l, h) || p < mask.sink || p >= n - mask.window;
    if (seen) positions.push_back(static_cast<int32_t>(p));
  }
  return positions;
}

/// That the heads which stream, or all, hold the rows they should.
inline void check_positions(const Sequence& sequence, const Model& model, const HeadMask& mask,
                            bool full_heads) {
  const KeptRecord record = sequence.cache().kept();
  for (int64_t l = 0; l < model.config.n_layers; ++l) {
    for (int64_t h = 0; h < model.config.n_kv_heads; ++h) {
      if (!full_heads && !mask.streams(l, h)) continue;
      CAPTURE(l);
      CAPTURE(h);
      CHECK(record.head(l, h).position == expected_positions(mask, l, h, record.n_tokens));
    }
  }
}

/// One text that is read and written in turns, against one explicitly masked pass over all of it.
class StreamedText {
 public:
  StreamedText(const Model& model, const TinyModel& shape, Sequence& sequence, double tolerance)
      : model_(model),
        mask_(sequence.kv_settings().heads),
        sequence_(sequence),
        tolerance_(tolerance),
        text_(random_tokens(200, shape.vocab_size, 77)) {
    const int64_t group = model.config.group();
    expected_ =
        SlowModel(shape).logits(text_, [&](int64_t l, int64_t head, int64_t query, int64_t key) {
          return !mask_.streams(l, head / group) || key < mask_.sink || key > query - mask_.window;
        });
  }

  void read(size_t n) {
    CAPTURE(read_);
    sequence_.prefill(std::span(text_).subspan(read_, n));
    read_ += n;
    check();
  }

  void write(size_t n) {
    for (size_t i = 0; i < n; ++i) {
      CAPTURE(read_);
      step(sequence_, text_[read_]);
      ++read_;
      CHECK(nmse(last_logits(sequence_, model_), expected_[read_ - 1]) < tolerance_);
    }
    check();
  }

 private:
  void check() const {
    CHECK(nmse(last_logits(sequence_, model_), expected_[read_ - 1]) < tolerance_);
    check_positions(sequence_, model_, mask_, true);
  }

  const Model& model_;
  HeadMask mask_;
  Sequence& sequence_;
  double tolerance_;
  std::vector<int32_t> text_;
  std::vector<SlowModel::Vector> expected_;
  size_t read_ = 0;
};

/// Shapes whose heads lie on both sides of every third.
inline std::vector<TinyModel> streaming_shapes(DType type) {
  std::vector<TinyModel> shapes = {
      {},
      {.n_layers = 3, .n_heads = 3, .n_kv_heads = 1, .head_dim = 10, .tied = true, .seed = 3},
      {.hidden_size = 128, .n_layers = 3, .n_heads = 8, .n_kv_heads = 2, .head_dim = 64, .seed = 4},
  };
  for (TinyModel& shape : shapes) {
    shape.type = type;
    shape.max_positions = 4096;
  }
  return shapes;
}

/// Prompts that exceed what a streaming head keeps and prompts that do not, long ones and such as
/// go through kernels for few rows, whole and in parts.
inline void check_streaming_text(const Loader& load, DType type, double tolerance) {
  for (const TinyModel& shape : streaming_shapes(type)) {
    CAPTURE(shape.seed);
    const Model model = load(shape, 200);
    for (const int64_t prefill_rows : {0, 7}) {
      for (const size_t first : {1, 5, 12, 13, 50}) {
        for (const size_t then : {3, 31}) {
          CAPTURE(prefill_rows);
          CAPTURE(first);
          CAPTURE(then);
          const KvOptions options = with_mask({}, some_streaming(model.config));
          Sequence sequence = make_sequence(model, options, int64_t(first), 200, prefill_rows);
          StreamedText text(model, shape, sequence, tolerance);
          text.read(first);
          text.write(30);
          text.read(then);
          text.write(11);
          text.read(40);
          text.write(2);
        }
      }
    }
  }
}

/// In chunk order a streaming head's rows leave early, and nothing else changes.
inline void check_streaming_chunks(const Loader& load, DType type, double tolerance) {
  const TinyModel shape = streaming_shapes(type)[0];
  const Model model = load(shape, 200);
  for (const int64_t chunk : {1, 5, 20, 64}) {
    for (const size_t first : {11, 12, 13, 64, 65}) {
      CAPTURE(chunk);
      CAPTURE(first);
      KvOptions options = with_mask({}, some_streaming(model.config));
      options.order = PrefillOrder::kChunk;
      options.evict_chunk = chunk;
      Sequence sequence = make_sequence(model, options, int64_t(first), 200);
      StreamedText text(model, shape, sequence, tolerance);
      text.read(first);
      text.write(20);
      text.read(9);
      text.write(3);
    }
  }
}

/// Sage rules the full heads: what they see of a text of which `n` tokens were the prompt.
struct SageEyes {
  const HeadMask& mask;
  const KvSettings& kv;
  const KeptRecord& kept;  // right after the prompt
  int64_t n;

  bool sees(int64_t l, int64_t head, int64_t query, int64_t key) const {
    const int64_t h = head / kept.group;
    if (mask.streams(l, h)) return key < mask.sink || key > query - mask.window;
    if (query < n) return true;
    if (key >= n - kv.shares.recent) return key > query - kv.shares.recent;
    const std::vector<int32_t>& rows = kept.head(l, h).position;
    const auto row = std::ranges::find(rows, static_cast<int32_t>(key));
    if (row == rows.end()) return false;
    return ((kept.head(l, h).mask[size_t(row - rows.begin())] >> (head % kept.group)) & 1U) != 0;
  }
};

/// Full heads choose as sage says, streaming heads hold their own rows, and steps see just these.
inline void check_streaming_sage(const Loader& load, DType type, double tolerance) {
  for (const TinyModel& shape : streaming_shapes(type)) {
    CAPTURE(shape.seed);
    const Model model = load(shape, 200);
    const HeadMask mask = some_streaming(model.config);
    const auto text = random_tokens(110, shape.vocab_size, 78);
    for (const bool fill : {false, true}) {
      KvOptions options = with_mask(kv_options("sage", 36), mask);
      options.fill = fill;
      Sequence sequence = make_sequence(model, options, 70, 200);
      const auto layers = prefill_copied(sequence, model, std::span(text).first(70));
      check_positions(sequence, model, mask, false);
      const KeptRecord kept = sequence.cache().kept();
      const KvSettings& kv = sequence.kv_settings();
      for (int64_t l = 0; !fill && l < model.config.n_layers; ++l) {
        for (int64_t h = 0; h < model.config.n_kv_heads; ++h) {
          if (mask.streams(l, h)) continue;
          std::vector<int32_t> rows;
          for (const auto& [row, bits] : naive_selection(model, layers[size_t(l)], h, kv)) {
            rows.push_back(static_cast<int32_t>(row));
          }
          CHECK(kept.head(l, h).position == rows);
        }
      }
      const SageEyes eyes{mask, kv, kept, 70};
      const auto expected =
          SlowModel(shape).logits(text, [&](auto... where) { return eyes.sees(where...); });
      for (size_t i = 70; i < text.size(); ++i) {
        step(sequence, text[i]);
        CAPTURE(i);
        CHECK(nmse(last_logits(sequence, model), expected[i]) < tolerance);
      }
      check_positions(sequence, model, mask, false);
    }
  }
}

/// Rows of the full heads, of one layer or of all.
inline int64_t full_rows(const KeptRecord& record, const HeadMask& mask, int64_t layer) {
  int64_t rows = 0;
  for (int64_t l = 0; l < record.n_layers; ++l) {
    for (int64_t h = 0; h < record.n_kv_heads; ++h) {
      const bool counts = !mask.streams(l, h) && (layer < 0 || l == layer);
      rows += counts ? std::ssize(record.head(l, h).position) : 0;
    }
  }
  return rows;
}

/// Every method with every reach of its cut leaves streaming heads what is theirs, and shares the
/// budgets of the full heads among those alone; so do later prompts and selections on the way.
inline void check_streaming_methods(const Loader& load, DType type) {
  constexpr int64_t kBudget = 44;
  const TinyModel shape{.n_layers = 3, .n_heads = 8, .n_kv_heads = 4, .type = type, .seed = 6};
  const Model model = load(shape, 200);
  const HeadMask mask = some_streaming(model.config);
  const auto tokens = random_tokens(120, shape.vocab_size, 79);
  for (const std::string_view name : policy_names()) {
    if (name == "full" || name == "h2o" || name == "quest") continue;
    for (const int variant : {0, 1, 2}) {
      CAPTURE(std::string(name));
      CAPTURE(variant);
      KvOptions options = with_mask(kv_options(std::string(name), kBudget), mask);
      const OwnOptions own = make_policy(name)->own_options();
      if (own.window) options.policy_options.window = 4;
      if (own.laprox) options.policy_options.terms = ScoreTerms::kValue;  // no factors of W_O here
      options.reselect = variant == 1;
      if (name != "expected") options.recompact = variant == 2 ? 6 : 0;  // has no statistics then
      Sequence sequence = make_sequence(model, options, 70, 200);
      sequence.prefill(std::span(tokens).first(70));
      check_positions(sequence, model, mask, false);
      const KeptRecord kept = sequence.cache().kept();
      const bool alike = name != "pyramidkv";  // each layer's budget is another, and its full heads
      if (alike) CHECK(full_rows(kept, mask, -1) <= kBudget * (12 - mask.n_streaming()));
      if (sequence.kv_settings().cut == CutScope::kLayer) {
        CHECK(full_rows(kept, mask, 0) <= kBudget * 2);
      }
      for (size_t i = 70; i < 85; ++i) step(sequence, tokens[i]);
      check_positions(sequence, model, mask, false);
      sequence.prefill(std::span(tokens).subspan(85, 20));
      check_positions(sequence, model, mask, false);
      for (size_t i = 105; i < 120; ++i) step(sequence, tokens[i]);
      check_positions(sequence, model, mask, false);
      CHECK(std::isfinite(last_logits(sequence, model)[0]));
    }
  }
}

/// A mask of nothing but full heads changes no bit.
inline void check_all_full(const Loader& load, DType type) {
  const TinyModel shape = streaming_shapes(type)[0];
  const Model model = load(shape, 200);
  HeadMask mask = some_streaming(model.config);
  mask.full.assign(mask.full.size(), 1);
  const auto tokens = random_tokens(120, shape.vocab_size, 80);
  const auto run = [&](const KvOptions& options) {
    Sequence sequence = make_sequence(model, options, 70, 200);
    sequence.prefill(std::span(tokens).first(70));
    for (size_t i = 70; i < 90; ++i) step(sequence, tokens[i]);
    sequence.prefill(std::span(tokens).subspan(90));
    return last_logits(sequence, model);
  };
  for (const KvOptions& options : {KvOptions{}, kv_options("sage", 40)}) {
    CHECK(same_bits(run(options), run(with_mask(options, mask))));
  }
}

/// arXiv 2506.17121's count for one prompt of n tokens and m steps (its released scorer): its
/// window leaves the query's own row out.
inline double footprint_formula(const HeadMask& mask, int64_t n, int64_t m, double streaming) {
  const auto triangle = [](int64_t x) { return double(x) * double(x + 1) / 2; };
  double stream = triangle(n);
  for (int64_t a = n; a < n + m; ++a) {
    const int64_t local = std::min(a, mask.window - 1);
    stream += double(1 + local + std::min(a - local, mask.sink));
  }
  const double full = triangle(n + m);
  return streaming * stream / full + (1 - streaming);
}

inline void check_streaming_footprint(const Loader& load, DType type) {
  const TinyModel shape = streaming_shapes(type)[0];
  const Model model = load(shape, 200);
  const HeadMask mask = some_streaming(model.config);
  const double share = double(mask.n_streaming()) / double(std::ssize(mask.full));
  for (const int64_t n : {4, 12, 13, 60}) {
    CAPTURE(n);
    Sequence sequence = make_sequence(model, with_mask({}, mask), n, 200);
    sequence.prefill(prompt_of(shape, n, 81));
    for (int32_t i = 0; i < 25; ++i) step(sequence, i);
    CHECK(sequence.meter().footprint() == doctest::Approx(footprint_formula(mask, n, 25, share)));
  }
}

}  // namespace winnow::test
