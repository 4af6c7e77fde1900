// What the GPU's tests share: whether there is one, and models on it.
#pragma once

#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cuda/factory.h"
#include "cuda/gpu.h"
#include "src/model.h"
#include "tests/support/loaded_model.h"

/// Ends a test where there is no GPU, and says so.
#define NEEDS_GPU()                                     \
  do {                                                  \
    const std::string why_not = ::winnow::why_no_gpu(); \
    if (!why_not.empty()) {                             \
      MESSAGE("skipped: ", why_not);                    \
      return;                                           \
    }                                                   \
  } while (false)

/// Ends a test where kernels with Hopper's own instructions cannot run, and says so.
#define NEEDS_HOPPER()                                       \
  NEEDS_GPU();                                               \
  do {                                                       \
    if (!::winnow::cuda::current_gpu().is_hopper()) {        \
      MESSAGE("skipped: the GPU is not of Hopper's design"); \
      return;                                                \
    }                                                        \
  } while (false)

namespace winnow::test {

/// Room for several sequences of `capacity` tokens at a time.
inline Model load_on_gpu(const std::filesystem::path& dir, int64_t capacity,
                         const CudaOptions& options = {}) {
  const ModelFiles files = open_network(dir);
  const RunShape shape = roomy_shape(capacity);
  return load_model(files, make_cuda_device(files.config, files.plan.type, options), shape, {});
}

inline Model load_tiny_on_gpu(const TinyModel& tiny, int64_t capacity,
                              const CudaOptions& options = {}) {
  const TempDir dir;
  write_tiny_model(dir.path(), tiny);
  return load_on_gpu(dir.path(), capacity, options);
}

/// A folder of the data that is kept outside of the repository, e.g. "models/stories260K": under
/// $WINNOW_SHARED/data, or beside the repository. Nothing where it is not there.
inline std::optional<std::filesystem::path> shared_data(const std::string& name) {
  std::vector<std::filesystem::path> roots = {"../shared", "shared"};
  if (const char* root = std::getenv("WINNOW_SHARED")) roots.insert(roots.begin(), root);
  for (const auto& root : roots) {
    if (std::filesystem::exists(root / "data" / name)) return root / "data" / name;
  }
  return std::nullopt;
}

}  // namespace winnow::test
