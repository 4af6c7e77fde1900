// CUPTI, the library that NVIDIA's profilers are made with. It comes with the toolkit and is looked
// for when it is needed first: the program starts, and runs, without it.
#pragma once

#include <cupti.h>

#include <string>

namespace winnow::cuda {

/// The functions of CUPTI's activity API.
struct CuptiApi {
  decltype(&::cuptiActivityRegisterCallbacks) register_callbacks = nullptr;
  decltype(&::cuptiActivityEnable) enable = nullptr;
  decltype(&::cuptiActivityDisable) disable = nullptr;
  decltype(&::cuptiActivityFlushAll) flush_all = nullptr;
  decltype(&::cuptiActivityGetNextRecord) next_record = nullptr;
  decltype(&::cuptiActivityPushExternalCorrelationId) push_id = nullptr;
  decltype(&::cuptiActivityPopExternalCorrelationId) pop_id = nullptr;
  decltype(&::cuptiGetTimestamp) timestamp = nullptr;
  decltype(&::cuptiGetResultString) result_string = nullptr;

  /// "CUPTI: ...", what a call that did not succeed came to.
  std::string describe(CUptiResult result) const;
};

/// False where it is not there: `why_not` becomes the reason. What is loaded stays so.
bool load_cupti(CuptiApi& api, std::string& why_not);

}  // namespace winnow::cuda
