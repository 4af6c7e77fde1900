#include "src/bench/kernel_report.h"

#include <string>
#include <utility>

#include "src/bench/number_text.h"
#include "src/cli/table.h"

namespace winnow {
namespace {

using OrderedJson = nlohmann::ordered_json;

std::vector<TableColumn> columns() {
  return {{"phase", -8}, {"tokens", 7}, {"depth", 7}, {"policy", -9}, {"budget", 7},
          {"step", -17}, {"calls", 7},  {"ms", 9},    {"us each", 9}, {"time", 6},
          {"rate", 7},   {"of", -8},    {"share", 6}, {"by", -6},     {"kernel", -1}};
}

/// The line as a measurement of bench, which knows rates and shares.
BenchRecord as_record(const KernelLine& line) {
  return {.kind = BenchKind::kKernel,
          .name = line.step,
          .policy = "",
          .budget = {},
          .seconds = {line.seconds},
          .cost = line.cost};
}

bool has_rate(const KernelLine& line) {
  return line.seconds > 0 && line.cost.read + line.cost.written + line.cost.flops > 0;
}

std::vector<std::string> cells(const BenchRecord& record, const KernelLine& line,
                               const Ceilings& ceilings, const std::string& timer) {
  const BenchRecord measured = as_record(line);
  const bool memory = measured.bound_by_memory(ceilings);
  const double rate = memory ? measured.gigabytes_per_second() : measured.teraflops();
  const bool calls = line.calls > 0;
  return {line.phase,
          std::to_string(record.tokens),
          std::to_string(record.depth),
          record.policy,
          record.budget ? std::to_string(*record.budget) : "-",
          line.step,
          calls ? std::to_string(line.calls) : "-",
          short_number(line.seconds * 1e3),
          calls ? short_number(line.seconds * 1e6 / static_cast<double>(line.calls)) : "-",
          fixed_number(100 * line.part, 1) + "%",
          has_rate(line) ? short_number(rate) : "-",
          has_rate(line) ? (memory ? "GB/s" : "TFLOP/s") : "-",
          has_rate(line) ? fixed_number(100 * measured.share(ceilings), 1) + "%" : "-",
          timer,
          line.kernel.empty() ? "-" : line.kernel};
}

}  // namespace

KernelReport::KernelReport(const OutputOptions& output, BenchRun run)
    : format_(output.format), out_(output.file), run_(std::move(run)) {}

void KernelReport::add(const BenchRecord& record, const std::vector<KernelLine>& lines,
                       const std::string& timer) {
  const bool json = format_ == Format::kJson || format_ == Format::kJsonl;
  for (const KernelLine& line : lines) {
    if (json) {
      add_json(record, line, timer);
      continue;
    }
    if (!std::exchange(begun_, true)) out_.write(table_head(format_, columns()));
    out_.write(table_line(format_, columns(), cells(record, line, run_.ceilings, timer)));
  }
}

void KernelReport::add_json(const BenchRecord& record, const KernelLine& line,
                            const std::string& timer) {
  const BenchRecord measured = as_record(line);
  OrderedJson json;
  json["bench"] = "kernels";
  json["phase"] = line.phase;
  json["step"] = line.step;
  json["kernel"] = line.kernel.empty() ? OrderedJson(nullptr) : OrderedJson(line.kernel);
  json["calls"] = line.calls;
  json["ms"] = line.seconds * 1e3;
  json["time"] = line.part;
  if (has_rate(line)) {
    json["GBps"] = measured.gigabytes_per_second();
    json["TFLOPs"] = measured.teraflops();
    json["share"] = measured.share(run_.ceilings);
  }
  json["timer"] = timer;
  json["shape"] = run_.shape;
  json["tokens"] = record.tokens;
  json["depth"] = record.depth;
  json["policy"] = record.policy;
  json["budget"] = record.budget ? OrderedJson(*record.budget) : OrderedJson(nullptr);
  json["ceiling"] = ceilings_json(run_.ceilings);
  json["gpu"] = run_.gpu;
  json["driver"] = run_.driver;
  json["commit"] = run_.commit;
  json["flags"] = run_.flags;
  if (format_ == Format::kJson) return records_.push_back(std::move(json));
  out_.write(json.dump() + "\n");
}

void KernelReport::finish() {
  if (format_ == Format::kJson) out_.write(records_.dump(1) + "\n");
}

}  // namespace winnow
