// How well text is foretold from a cache: against the logits of one long prompt, and against a loop
// over a sequence of its own, in double precision.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "src/base/splitmix.h"
#include "src/eval/perplexity.h"
#include "tests/support/eval_runs.h"
#include "tests/support/tight_device.h"
#include "tests/support/winnow_cases.h"

namespace winnow::test {
namespace {

constexpr PerplexityOptions kSmall = {.prefix = 40, .score = 30, .bos = true};

/// A model with its tokenizer and room for whatever a test likes.
struct Loaded {
  explicit Loaded(const std::string& dir)
      : files(open_model(dir)),
        model(load_model(files, make_cpu_device(files.config, 1), roomy_shape(200), {})) {}

  ModelFiles files;
  Model model;

  std::vector<PerplexityRow> rows(const std::vector<KvOptions>& methods,
                                  const PerplexityOptions& options, std::span<const int32_t> text,
                                  uint64_t draw = 0) const {
    Perplexity perplexity(files, model, methods, options, 9);
    perplexity.run_window(text, draw, {});
    return perplexity.rows();
  }
};

/// Tokens of a window of `options`, ids of the tokenizer of a TinyDir.
std::vector<int32_t> window_of(const PerplexityOptions& options, uint64_t seed = 1) {
  return random_tokens(Perplexity::window_tokens(options), 265, seed);
}

/// BOS and the text, as the model reads it.
std::vector<int32_t> read_text(std::span<const int32_t> text, const PerplexityOptions& options) {
  std::vector<int32_t> tokens;
  if (options.bos) tokens.push_back(1);
  tokens.insert(tokens.end(), text.begin(), text.end());
  return tokens;
}

std::vector<double> log_softmax(std::span<const float> logits) {
  double sum = 0;
  for (const float x : logits) sum += std::exp(double{x});
  std::vector<double> log_p;
  for (const float x : logits) log_p.push_back(double{x} - std::log(sum));
  return log_p;
}

/// What a method says at each place that is scored.  [score][ids of the tokenizer]
struct Told {
  std::vector<std::vector<double>> log_p;
  PerplexityRow cost;  // what it cost: its last members
};

/// The same from a sequence of its own.
Told told_alone(const Loaded& loaded, const KvOptions& kv, const PerplexityOptions& options,
                std::span<const int32_t> text) {
  const std::vector<int32_t> tokens = read_text(text, options);
  const auto prefix = static_cast<size_t>(options.prefix);
  Sequence sequence =
      make_sequence(loaded.model, kv, options.prefix, options.prefix + options.score, 9);
  sequence.prefill(std::span(tokens).first(prefix));
  Told told;
  for (size_t i = prefix; i + 1 < tokens.size(); ++i) {
    step(sequence, tokens[i]);
    std::vector<float> logits(static_cast<size_t>(loaded.files.tokenizer->vocab_size()));
    sequence.download_logits(logits);
    told.log_p.push_back(log_softmax(logits));
  }
  const auto row = static_cast<double>(2 * loaded.model.config.head_dim * 4 + 8);
  told.cost.rows_kept = static_cast<double>(sequence.cache().rows_held());
  told.cost.bytes_kept = told.cost.rows_kept * row;
  told.cost.bytes_peak = static_cast<double>(sequence.meter().most_held()) * row;
  told.cost.footprint = sequence.meter().footprint();
  told.cost.occupancy = sequence.meter().occupancy();
  return told;
}

size_t likeliest(const std::vector<double>& log_p) {
  return static_cast<size_t>(std::ranges::max_element(log_p) - log_p.begin());
}

/// The row of a method against what it and the full cache say alone.
void check_row(const PerplexityRow& row, const Told& told, const Told& full,
               std::span<const int32_t> text) {
  const size_t n = told.log_p.size();
  double nll = 0, kl = 0, agreed = 0;
  for (size_t i = 0; i < n; ++i) {
    const std::vector<double>& p = full.log_p[i];
    const std::vector<double>& q = told.log_p[i];
    nll -= q[static_cast<size_t>(text[text.size() - n + i])];
    for (size_t id = 0; id < q.size(); ++id) kl += std::exp(p[id]) * (p[id] - q[id]);
    agreed += likeliest(p) == likeliest(q) ? 1 : 0;
  }
  const auto count = static_cast<double>(n);
  CHECK(row.n == static_cast<int64_t>(n));
  CHECK(row.perplexity == doctest::Approx(std::exp(nll / count)).epsilon(1e-9));
  CHECK(row.kl == doctest::Approx(kl / count).epsilon(1e-9));
  CHECK(row.top1 == doctest::Approx(agreed / count).epsilon(1e-12));
  CHECK(row.rows_kept == told.cost.rows_kept);
  CHECK(row.bytes_kept == told.cost.bytes_kept);
  CHECK(row.bytes_peak == told.cost.bytes_peak);
  CHECK(row.footprint == told.cost.footprint);
  CHECK(row.occupancy == told.cost.occupancy);
  CHECK(row.ms_per_token > 0);
}

/// exp of the mean of -log p, from the logits of one prompt of all tokens.
double perplexity_of_prompt(const Loaded& loaded, const PerplexityOptions& options,
                            std::span<const int32_t> text) {
  const std::vector<int32_t> tokens = read_text(text, options);
  const std::vector<float> logits = all_logits(loaded.model, tokens);
  const auto stride = static_cast<size_t>(loaded.model.config.vocab_size);
  const auto ids = static_cast<size_t>(loaded.files.tokenizer->vocab_size());
  double nll = 0;
  for (auto i = static_cast<size_t>(options.prefix); i + 1 < tokens.size(); ++i) {
    const auto log_p = log_softmax(std::span(logits).subspan(i * stride, ids));
    nll -= log_p[static_cast<size_t>(tokens[i + 1])];
  }
  return std::exp(nll / static_cast<double>(options.score));
}

/// Of a row: the bytes of the text that was scored, from its two ways to tell how surprising it is.
double bytes_of(const PerplexityRow& row) {
  return static_cast<double>(row.n) * std::log2(row.perplexity) / row.bits_per_byte;
}

}  // namespace

TEST_CASE("perplexity: the full cache's is that of the logits of one long prompt") {
  const TinyDir dir;
  const Loaded loaded(dir.name());
  for (const bool bos : {true, false}) {
    for (const auto& [prefix, score] : {std::pair{40, 30}, {1, 12}, {50, 1}}) {
      const PerplexityOptions options = {.prefix = prefix, .score = score, .bos = bos};
      CAPTURE(bos);
      CAPTURE(prefix);
      const std::vector<int32_t> text = window_of(options);
      CHECK(std::ssize(text) == prefix + score + (bos ? 0 : 1));
      const std::vector<PerplexityRow> rows = loaded.rows({KvOptions{}}, options, text);
      REQUIRE(rows.size() == 1);
      const double expected = perplexity_of_prompt(loaded, options, text);
      CHECK(rows[0].perplexity == doctest::Approx(expected).epsilon(1e-6));
      CHECK(rows[0].prefix == prefix);
      CHECK(rows[0].n == score);
      CHECK(rows[0].windows == 1);
    }
  }
}

TEST_CASE("perplexity: the bundled model's, too") {
  const Loaded loaded(kDemo);
  const PerplexityOptions options = {.prefix = 60, .score = 40, .bos = false};
  std::vector<int32_t> text = loaded.files.tokenizer->encode(story(8));
  text.resize(static_cast<size_t>(Perplexity::window_tokens(options)));
  const auto rows = loaded.rows({kv_options("sage", 24), {}}, options, text);
  const double expected = perplexity_of_prompt(loaded, options, text);
  CHECK(rows[1].perplexity == doctest::Approx(expected).epsilon(1e-6));
  CHECK(rows[0].kl > 0);
}

TEST_CASE("perplexity: the full cache and budgets of the prefix say the same") {
  const TinyDir dir;
  const Loaded loaded(dir.name());
  const std::vector<KvOptions> methods = {
      kv_options("sage", 40), {}, kv_options("random", 41), kv_options("streaming", 39)};
  const auto rows = loaded.rows(methods, kSmall, window_of(kSmall));
  for (const size_t i : {0, 1, 2}) {
    CAPTURE(i);
    CHECK(rows[i].kl == 0);
    CHECK(rows[i].top1 == 1);
    CHECK(rows[i].perplexity == rows[1].perplexity);
    CHECK(rows[i].bits_per_byte == rows[1].bits_per_byte);
    CHECK(rows[i].footprint == 1);
    CHECK(rows[i].rows_kept == 4 * 70);  // of two layers with two heads each
  }
  CHECK(rows[3].kl > 0);  // one row less
  CHECK(rows[3].perplexity != rows[1].perplexity);
  CHECK(rows[3].footprint < 1);
}

TEST_CASE("perplexity: a winnowed method says what a sequence of its own says") {
  for (const TinyModel& shape : winnow_shapes(DType::kF32)) {
    CAPTURE(shape.n_kv_heads);
    const TinyDir dir(shape);
    const Loaded loaded(dir.name());
    std::vector<KvOptions> methods = {kv_options("sage", 16), kv_options("streaming", 8),
                                      kv_options("random", 20), kv_options("sage", 20),
                                      kv_options("random", 30)};
    methods[3].group = Group::kMean;
    methods[4].recompact = 7;
    for (KvOptions& method : methods) method.policy_options.seed = 5;
    const std::vector<int32_t> text = window_of(kSmall, 2);
    for (const uint64_t draw : {0, 1}) {
      const auto rows = loaded.rows(methods, kSmall, text, draw);
      const Told full = told_alone(loaded, {}, kSmall, text);
      for (size_t i = 0; i < methods.size(); ++i) {
        CAPTURE(i);
        CAPTURE(draw);
        KvOptions kv = methods[i];
        kv.policy_options.seed = splitmix64(kv.policy_options.seed, draw);
        check_row(rows[i], told_alone(loaded, kv, kSmall, text), full, text);
      }
    }
    // What sage keeps is not drawn.
    CHECK(loaded.rows(methods, kSmall, text, 0)[0].kl ==
          loaded.rows(methods, kSmall, text, 1)[0].kl);
  }
}

TEST_CASE("perplexity: the first token that is scored comes from what was kept") {
  const TinyDir dir;
  const Loaded loaded(dir.name());
  const PerplexityOptions one = {.prefix = 40, .score = 1, .bos = true};
  const std::vector<int32_t> text = window_of(one);
  const auto rows = loaded.rows({{}, kv_options("streaming", 6)}, one, text);
  CHECK(rows[1].n == 1);
  CHECK(rows[1].kl > 1e-6);
  CHECK(rows[1].perplexity != rows[0].perplexity);
  // The token after the prefix is fed: what is foretold depends on it.
  std::vector<int32_t> other = text;
  other[other.size() - 2] = other.back();
  CHECK(loaded.rows({KvOptions{}}, one, other)[0].perplexity != rows[0].perplexity);
}

TEST_CASE("perplexity: bytes are those of the tokens that are scored") {
  const TinyDir dir;
  const Loaded loaded(dir.name());
  const PerplexityOptions options = {.prefix = 3, .score = 6, .bos = true};
  const auto byte = [](int value) { return 3 + value; };
  const int32_t space_x = 3 + 256, space = space_x + 1, x = space_x + 2;
  // Two tokens of the prefix and one that is fed; then " x", " ", "x", nothing, and U+00E9 in two.
  const std::vector<int32_t> text = {space_x, space_x, space_x,    space_x,   space,
                                     x,       2,       byte(0xC3), byte(0xA9)};
  CHECK(bytes_of(loaded.rows({KvOptions{}}, options, text)[0]) == doctest::Approx(2 + 1 + 1 + 2));

  const Loaded demo(kDemo);
  const std::string written = "It was caf\u00E9 \u2014 na\u00EFve, said \u6F22\u5B57 \U0001F600.";
  const std::vector<int32_t> tokens = demo.files.tokenizer->encode(written);
  const PerplexityOptions rest = {.prefix = 2, .score = std::ssize(tokens) - 3, .bos = false};
  std::string before;
  for (size_t i = 0; i < 3; ++i) before += demo.files.tokenizer->decode_piece(tokens[i], false);
  const std::string whole = written.starts_with(before) ? written : " " + written;
  REQUIRE(whole.starts_with(before));
  CHECK(bytes_of(demo.rows({KvOptions{}}, rest, tokens)[0]) ==
        doctest::Approx(static_cast<double>(whole.size() - before.size())));
}

TEST_CASE("perplexity: windows add up") {
  const TinyDir dir;
  const Loaded loaded(dir.name());
  const std::vector<KvOptions> methods = {kv_options("random", 16), {}, kv_options("sage", 12)};
  const std::vector<std::vector<int32_t>> texts = {window_of(kSmall, 3), window_of(kSmall, 4)};
  Perplexity perplexity(loaded.files, loaded.model, methods, kSmall, 9);
  CHECK(perplexity.rows().empty());
  for (uint64_t i = 0; i < 2; ++i) perplexity.run_window(texts[i], i, {});
  const std::vector<PerplexityRow> both = perplexity.rows();
  const auto first = loaded.rows(methods, kSmall, texts[0], 0);
  const auto second = loaded.rows(methods, kSmall, texts[1], 1);
  for (size_t i = 0; i < methods.size(); ++i) {
    CAPTURE(i);
    const auto mean = [&](double PerplexityRow::*member) {
      return doctest::Approx((first[i].*member + second[i].*member) / 2).epsilon(1e-12);
    };
    CHECK(both[i].windows == 2);
    CHECK(both[i].n == 60);
    CHECK(std::log(both[i].perplexity) ==
          doctest::Approx(std::log(first[i].perplexity * second[i].perplexity) / 2).epsilon(1e-12));
    CHECK(bytes_of(both[i]) == doctest::Approx(bytes_of(first[i]) + bytes_of(second[i])));
    for (double PerplexityRow::*member :
         {&PerplexityRow::kl, &PerplexityRow::top1, &PerplexityRow::rows_kept,
          &PerplexityRow::bytes_kept, &PerplexityRow::bytes_peak, &PerplexityRow::footprint,
          &PerplexityRow::occupancy}) {
      CHECK(both[i].*member == mean(member));
    }
  }
}

TEST_CASE("perplexity: a window that is stopped does not count, and can be read again") {
  const TinyDir dir;
  const Loaded loaded(dir.name());
  const std::vector<KvOptions> methods = {kv_options("sage", 12)};
  const std::vector<int32_t> text = window_of(kSmall);
  Perplexity perplexity(loaded.files, loaded.model, methods, kSmall, 9);
  const auto stop = [](uint64_t done, uint64_t total) {
    if (done == total) throw std::runtime_error("stop");
  };
  const uint64_t used = loaded.model.device->arena().used();
  CHECK_THROWS_AS(perplexity.run_window(text, 0, stop), std::runtime_error);
  CHECK(perplexity.rows().empty());
  perplexity.run_window(text, 0, {});
  const PerplexityRow before = perplexity.rows()[0];
  CHECK_THROWS_AS(perplexity.run_window(text, 1, stop), std::runtime_error);
  CHECK(loaded.model.device->arena().used() == used);
  const PerplexityRow after = perplexity.rows()[0];
  CHECK(after.windows == 1);
  CHECK(after.perplexity == before.perplexity);
  CHECK(after.kl == before.kl);
}

TEST_CASE("perplexity: a signal stops a window, in the prefix and after it") {
  const TinyDir dir;
  const Loaded loaded(dir.name());
  for (const uint64_t when : {9, 2 * 40}) {  // of two layers
    const auto send = [&](uint64_t done, uint64_t) {
      if (done > when) _exit(98);  // it went on
      if (done == when) raise(SIGINT);
    };
    Perplexity perplexity(loaded.files, loaded.model, {KvOptions{}}, kSmall, 9);
    CHECK(code_of([&] { perplexity.run_window(window_of(kSmall), 0, send); }) == 130);
  }
}

TEST_CASE("perplexity: rows come in the order that was asked for, and the full one if it was") {
  const TinyDir dir;
  const Loaded loaded(dir.name());
  const std::vector<int32_t> text = window_of(kSmall);
  const KvOptions sage = kv_options("sage", 12), streaming = kv_options("streaming", 9);
  const auto alone = loaded.rows({streaming}, kSmall, text);
  REQUIRE(alone.size() == 1);
  for (const std::vector<KvOptions>& methods :
       std::vector<std::vector<KvOptions>>{{sage, streaming},
                                           {streaming, sage},
                                           {{}, sage, streaming},
                                           {sage, {}, streaming},
                                           {streaming, sage, {}}}) {
    const auto rows = loaded.rows(methods, kSmall, text);
    REQUIRE(rows.size() == methods.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      CAPTURE(i);
      CHECK(rows[i].policy == methods[i].policy);
      CHECK(rows[i].budget.has_value() == methods[i].budget.has_value());
      if (rows[i].policy == "full") CHECK(rows[i].kl == 0);
      if (rows[i].policy == "sage") CHECK(rows[i].budget == 12);
      if (rows[i].policy != "streaming") continue;
      CHECK(rows[i].budget == 9);
      CHECK(rows[i].perplexity == alone[0].perplexity);
      CHECK(rows[i].kl == alone[0].kl);
    }
  }
  const auto with_full = Perplexity::with_full({sage, {}, streaming});
  REQUIRE(with_full.size() == 3);
  CHECK(with_full[0].policy == "full");
  CHECK(with_full[1].policy == "sage");
  CHECK(with_full[2].policy == "streaming");
}

TEST_CASE("perplexity: the memory that is planned is enough, wherever places are counted") {
  const TinyDir dir;
  const ModelFiles files = open_model(dir.name());
  const Loaded roomy(dir.name());
  const std::vector<int32_t> text = window_of(kSmall);
  for (const int64_t recompact : {0, 6}) {
    for (const bool places : {false, true}) {
      std::vector<KvOptions> methods = {kv_options("sage", 16), kv_options("streaming", 50),
                                        kv_options("random", 30), kv_options("sage", 45)};
      for (KvOptions& method : methods) {
        method.recompact = recompact;
        method.places_in_cache = places;
      }
      BlockPages::State pages;
      auto device = std::make_unique<TightDevice>(files.config, pages);
      auto shapes =
          plan_runs(files, *device, Perplexity::with_full(methods), kSmall.prefix, 0, kSmall.score);
      for (RunShape& shape : shapes) shape.prefill_rows = 9;
      const MemoryPlan plan = plan_memory_together(files, *device, shapes);
      const Model model = load_model(files, std::move(device), plan, {});
      methods.insert(methods.begin(), KvOptions{});
      Perplexity perplexity(files, model, methods, kSmall, 9);
      perplexity.run_window(text, 0, {});
      const Told full = told_alone(roomy, {}, kSmall, text);
      const std::vector<PerplexityRow> rows = perplexity.rows();
      for (size_t i = 0; i < methods.size(); ++i) {
        KvOptions kv = methods[i];
        kv.policy_options.seed = splitmix64(kv.policy_options.seed, 0);
        check_row(rows[i], told_alone(roomy, kv, kSmall, text), full, text);
      }
    }
  }
}

}  // namespace winnow::test
