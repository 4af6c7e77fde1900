// Records as text, Markdown, CSV or JSON, each written as soon as it is known.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "src/bench/record.h"
#include "src/cli/options.h"
#include "src/cli/output.h"

namespace winnow {

/// What is the same for all records of a run.
struct BenchRun {
  std::string shape;  // of the network: the name of its directory or shape file
  std::string gpu;    // Device::name()
  std::string driver;
  std::string commit;
  std::string flags;  // those that change how the same work is done
  Ceilings ceilings;
};

/// The options that change how the same work is done, as they are written; those that a record has
/// fields for are left out.
std::string bench_flags(const BenchOptions& options);

nlohmann::ordered_json ceilings_json(const Ceilings& ceilings);

/// `arena_bytes`: the most that the run has held so far.
nlohmann::ordered_json record_json(const BenchRecord& record, const BenchRun& run,
                                   uint64_t arena_bytes);

class BenchReport {
 public:
  /// Opens the output. Fails with kIo.
  BenchReport(const OutputOptions& output, BenchRun run);

  /// JSON is one list, which finish() writes. Fails with kIo.
  void add(const BenchRecord& record, uint64_t arena_bytes);
  void finish();

 private:
  Format format_;
  Output out_;
  BenchRun run_;
  bool begun_ = false;
  nlohmann::ordered_json records_ = nlohmann::ordered_json::array();
};

}  // namespace winnow
