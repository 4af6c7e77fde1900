// How the fused products of a decode token are laid over the GPU: gemv.cuh says what the words
// mean.
//
// Warps. Eight keep up with the memory twice over, and leave the registers of a multiprocessor to
// others: decode attention, which needs most of them, is there beside them before they end, and
// they before it ends.
//
// Depth. To keep the memory busy, latency times bandwidth must be under way: 0.8 us * 4.7 TB/s /
// 132 = 28 KB a multiprocessor. What is fetched before the wait must last until the first refill,
// some 2.5 us after the kernel before has read its last: 90 KB. So: as deep as half a
// multiprocessor allows, where the other half is the next kernel's.
//
// Rows. Two rows share what is read of x. Where that would leave warps without work, as in a small
// network, one row each spreads the work finer.
#include <bit>

#include "cuda/gemv_fused.h"

namespace winnow::cuda {
namespace {

constexpr int kPieceBytes = 512;         // of a row, that a warp takes at once
constexpr int64_t kPieceColumns = 256;   // of 16 bits
constexpr int64_t kAlignedColumns = 8;   // rows of W start on multiples of 16 bytes
constexpr size_t kReservedBytes = 1024;  // of each block, by the system
constexpr int kWarps = 8;
constexpr int kDepths[] = {24, 20, 16, 12, 8};  // by preference

}  // namespace

size_t gemv_shared_bytes(int64_t cols, GemvInput input, const GemvPlan& plan) {
  const auto columns =
      static_cast<size_t>((cols + kPieceColumns - 1) / kPieceColumns * kPieceColumns);
  const auto warps = static_cast<size_t>(plan.warps);
  const size_t rings = warps * static_cast<size_t>(plan.depth) * kPieceBytes;
  if (input == GemvInput::kPlain) return rings + columns * sizeof(uint16_t);
  return rings + columns * sizeof(float) + warps * sizeof(float);
}

std::optional<GemvPlan> plan_gemv(const Matrix& w, GemvInput input, const Gpu& gpu) {
  const bool aligned = w.cols % kAlignedColumns == 0 && std::bit_cast<uintptr_t>(w.data) % 16 == 0;
  if (w.type == DType::kF32 || !aligned) return std::nullopt;
  GemvPlan plan{.warps = kWarps, .blocks = gpu.multiprocessors};
  const int64_t all_warps = int64_t{plan.warps} * plan.blocks;
  plan.rows = w.rows / 2 >= all_warps * 7 / 8 ? 2 : 1;
  const auto whole = static_cast<size_t>(gpu.shared_bytes);
  for (const size_t room : {whole / 2, whole}) {
    for (const int depth : kDepths) {
      plan.depth = depth;
      if (gemv_shared_bytes(w.cols, input, plan) + kReservedBytes <= room) return plan;
    }
  }
  return std::nullopt;
}

}  // namespace winnow::cuda
