#include "src/saved_sequence.h"

#include "src/base/error.h"

namespace winnow {

CacheContents save_sequence(const Sequence& sequence, const Network& network,
                            const TextOrigin& origin, NewFile& file,
                            const std::function<void()>& tick) {
  const ModelConfig& c = network.config;
  Device& device = network.device;
  CacheContents contents = {.model = origin.model,
                            .n_layers = c.n_layers,
                            .n_kv_heads = c.n_kv_heads,
                            .group = c.group(),
                            .head_dim = c.head_dim,
                            .vocab_size = c.vocab_size,
                            .type = device.compute_type(),
                            .kv = origin.kv,
                            .first_prompt = origin.first_prompt,
                            .tokens = origin.tokens,
                            .state = sequence.state()};
  const KvStore& store = sequence.cache().store();
  WINNOW_CHECK(!store.extras().scores, "a cache file holds no scores");
  write_cache_file(file, contents, [&](const RowPiece& piece) {
    const auto head = static_cast<int64_t>(piece.head);
    const KvStore::HeadMemory from = store.head_memory(head / c.n_kv_heads, head % c.n_kv_heads);
    const std::byte* const rows = piece.values ? from.v : from.k;
    device.download(piece.out.data(), rows + piece.offset, piece.out.size());
    if (tick) tick();
  });
  return contents;
}

void load_sequence(const CacheFile& file, const CacheContents& contents, Sequence& sequence,
                   Device& device, const std::function<void()>& tick) {
  const std::vector<uint64_t> offsets = file.row_offsets(contents);
  sequence.restore(contents.state, [&](int64_t l, int64_t h, const KvStore::HeadMemory& to) {
    const auto head = static_cast<size_t>(l * contents.n_kv_heads + h);
    const uint64_t bytes = (offsets[head + 1] - offsets[head]) / 2;  // of the keys, or the values
    device.read(to.k, file.file(), offsets[head], bytes);
    device.read(to.v, file.file(), offsets[head] + bytes, bytes);
    if (tick) tick();
  });
}

}  // namespace winnow
