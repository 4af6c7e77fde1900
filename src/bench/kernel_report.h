// The lines of a kernel table as text, Markdown, CSV or JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "src/bench/kernel_table.h"
#include "src/bench/report.h"
#include "src/cli/options.h"
#include "src/cli/output.h"

namespace winnow {

class KernelReport {
 public:
  /// Opens the output. Fails with kIo.
  KernelReport(const OutputOptions& output, BenchRun run);

  /// `lines` of the passes that `record` is about; `timer`: what measured them. Fails with kIo.
  void add(const BenchRecord& record, const std::vector<KernelLine>& lines,
           const std::string& timer);

  /// JSON is one list, which is written now.
  void finish();

 private:
  void add_json(const BenchRecord& record, const KernelLine& line, const std::string& timer);

  Format format_;
  Output out_;
  BenchRun run_;
  bool begun_ = false;
  nlohmann::ordered_json records_ = nlohmann::ordered_json::array();
};

}  // namespace winnow
