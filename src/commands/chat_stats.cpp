#include "src/commands/chat_stats.h"

#include <cstdio>

#include "src/base/format_bytes.h"

namespace winnow {
namespace {

template <class... Values>
void print(const char* format, Values... values) {
  char text[320];
  std::snprintf(text, sizeof(text), format, values...);
  print_line(text);
}

double rate(int64_t n, double ms) {
  return ms > 0 ? static_cast<double>(n) * 1000 / ms : 0;
}

long long number(int64_t n) {
  return n;
}

}  // namespace

void print_line(std::string_view text) {
  std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
}

void print_stats(const Model& model, const ChatSession& session, const std::string& policy,
                 const Generation& last) {
  const KvCache& cache = session.sequence().cache();
  const ModelConfig& config = model.config;
  print("turns   %lld, %lld of %lld tokens of context", number(session.turns()),
        number(cache.next_position()), number(session.settings().sequence.capacity));
  if (session.turns() > 0) {
    print(
        "last    prefill %lld tokens, %.1f tokens/s; decode %zu tokens, %.1f tokens/s, ended by %s",
        number(session.prompt_tokens()), rate(session.prompt_tokens(), last.prefill_ms),
        last.tokens.size(), rate(last.decode_passes, last.decode_ms),
        stop_reason_name(last.stop_reason));
  }
  const int64_t rows = cache.empty() ? 0 : cache.rows_held();
  const uint64_t row = KvStore::row_bytes(config, model.device->compute_type());
  const int64_t rows_full = cache.next_position() * config.n_layers * config.n_kv_heads;
  print("cache   %s of %s: %lld of %lld rows kept, policy %s",
        format_bytes(static_cast<uint64_t>(rows) * row).c_str(),
        format_bytes(static_cast<uint64_t>(rows_full) * row).c_str(), number(rows),
        number(rows_full), policy.c_str());
}

}  // namespace winnow
