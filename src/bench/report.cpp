#include "src/bench/report.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "src/bench/number_text.h"
#include "src/cli/table.h"

namespace winnow {
namespace {

using OrderedJson = nlohmann::ordered_json;

std::vector<TableColumn> columns() {
  return {{"name", -17}, {"tokens", 7}, {"depth", 7}, {"policy", -9}, {"budget", 7},
          {"median", 9}, {"unit", -8},  {"rate", 7},  {"of", -8},     {"share", 6},
          {"min", 9},    {"max", 9},    {"runs", 4}};
}

/// What the ceiling that is nearer is counted in; nothing of what is timed as a part.
std::pair<std::string, std::string> rate(const BenchRecord& record, const Ceilings& ceilings) {
  if (record.kind == BenchKind::kCompact) return {"-", "prefill"};
  if (record.bound_by_memory(ceilings)) {
    return {short_number(record.gigabytes_per_second()), "GB/s"};
  }
  return {short_number(record.teraflops()), "TFLOP/s"};
}

std::vector<std::string> cells(const BenchRecord& record, const Ceilings& ceilings) {
  const auto [speed, unit] = rate(record, ceilings);
  const double first = record.in_unit(record.seconds.front());
  const double last = record.in_unit(record.seconds.back());
  return {record.name,
          std::to_string(record.tokens),
          std::to_string(record.depth),
          record.policy,
          record.budget ? std::to_string(*record.budget) : "-",
          short_number(record.value()),
          record.unit(),
          speed,
          unit,
          fixed_number(100 * record.share(ceilings), 1) + "%",
          short_number(std::min(first, last)),
          short_number(std::max(first, last)),
          std::to_string(record.seconds.size())};
}

std::string flag(const std::string& name, int64_t value) {
  return " " + name + " " + std::to_string(value);
}

const char* group_name(Group group) {
  switch (group) {
    case Group::kHead: return "head";
    case Group::kMean: return "mean";
    case Group::kMax: return "max";
    case Group::kSum: return "sum";
  }
  return "?";
}

}  // namespace

std::string bench_flags(const BenchOptions& options) {
  const KvOptions& kv = options.kv;
  std::string flags;
  if (!options.compute.graph) flags += " --no-graph";
  if (!options.compute.fuse) flags += " --no-fuse";
  if (options.compute.threads > 0) flags += flag("--threads", options.compute.threads);
  if (options.compute.prefill_rows > 0) {
    flags += flag("--prefill-rows", options.compute.prefill_rows);
  }
  if (kv.sink) flags += flag("--kv-sink", *kv.sink);
  if (kv.recent) flags += flag("--kv-recent", *kv.recent);
  if (kv.group) flags += std::string(" --kv-group ") + group_name(*kv.group);
  if (kv.fill) flags += " --kv-fill";
  if (kv.recompact > 0) flags += flag("--kv-recompact", kv.recompact);
  if (kv.places_in_cache) flags += " --kv-positions cache";
  return flags.empty() ? flags : flags.substr(1);
}

OrderedJson ceilings_json(const Ceilings& ceilings) {
  return {{"read_GBps", ceilings.read_gbps},
          {"copy_GBps", ceilings.copy_gbps},
          {"gemm_TFLOPs", ceilings.gemm_tflops}};
}

OrderedJson record_json(const BenchRecord& record, const BenchRun& run, uint64_t arena_bytes) {
  const bool decode = record.kind == BenchKind::kDecode;
  std::vector<double> runs;
  for (const double seconds : record.seconds) runs.push_back(record.in_unit(seconds));
  std::ranges::sort(runs);
  OrderedJson json;
  json["bench"] = bench_name(record.kind);
  json["name"] = record.name;
  json["shape"] = run.shape;
  json["prompt"] = decode ? 0 : record.tokens;
  json["tokens"] = record.tokens;
  json["depth"] = record.depth;
  json["policy"] = record.policy;
  json["budget"] = record.budget ? OrderedJson(*record.budget) : OrderedJson(nullptr);
  json["value"] = record.value();
  json["unit"] = record.unit();
  json["share"] = record.share(run.ceilings);
  if (record.kind != BenchKind::kCompact) {
    json["GBps"] = record.gigabytes_per_second();
    json["TFLOPs"] = record.teraflops();
  }
  json["ceiling"] = ceilings_json(run.ceilings);
  json["gpu"] = run.gpu;
  json["driver"] = run.driver;
  json["commit"] = run.commit;
  json["flags"] = run.flags;
  json["arena_high_water"] = arena_bytes;
  json["runs"] = runs;
  return json;
}

BenchReport::BenchReport(const OutputOptions& output, BenchRun run)
    : format_(output.format), out_(output.file), run_(std::move(run)) {}

void BenchReport::add(const BenchRecord& record, uint64_t arena_bytes) {
  if (format_ == Format::kJson || format_ == Format::kJsonl) {
    OrderedJson json = record_json(record, run_, arena_bytes);
    if (format_ == Format::kJson) return records_.push_back(std::move(json));
    return out_.write(json.dump() + "\n");
  }
  if (!std::exchange(begun_, true)) out_.write(table_head(format_, columns()));
  out_.write(table_line(format_, columns(), cells(record, run_.ceilings)));
}

void BenchReport::finish() {
  if (format_ == Format::kJson) out_.write(records_.dump(1) + "\n");
}

}  // namespace winnow
