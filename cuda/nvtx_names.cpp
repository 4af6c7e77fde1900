#include "cuda/nvtx_names.h"

#include <nvtx3/nvToolsExtCudaRt.h>
#if __has_include(<nvtx3/nvToolsExtMem.h>)
#include <nvtx3/nvToolsExtMem.h>
#endif

namespace winnow::cuda {

void name_stream(cudaStream_t stream, const std::string& name) {
  nvtxNameCudaStreamA(stream, name.c_str());
}

#if __has_include(<nvtx3/nvToolsExtMem.h>)

void name_memory(std::span<const std::byte> range, const std::string& name) {
  if (range.empty()) return;
  const nvtxMemVirtualRangeDesc_t addresses = {range.size(), range.data()};
  nvtxMemHeapDesc_t heap = {};
  heap.extCompatID = NVTX_EXT_COMPATID_MEM;
  heap.structSize = sizeof(heap);
  heap.usage = NVTX_MEM_HEAP_USAGE_TYPE_LAYOUT;
  heap.type = NVTX_MEM_TYPE_VIRTUAL_ADDRESS;
  heap.typeSpecificDescSize = sizeof(addresses);
  heap.typeSpecificDesc = &addresses;
  heap.messageType = NVTX_MESSAGE_TYPE_ASCII;
  heap.message.ascii = name.c_str();
  nvtxMemHeapRegister(nullptr, &heap);  // of the domain that all tools know
}

#else

void name_memory(std::span<const std::byte> /*range*/, const std::string& /*name*/) {}

#endif

}  // namespace winnow::cuda
