// The options about the cache: what is kept of the K/V rows, what is read over it, how to look at
// it.
#pragma once

#include <string>
#include <vector>

#include "src/cli/option_set.h"
#include "src/cli/options.h"

namespace winnow {

/// What is kept. Whether the options go together is for check_kv to say.
void add_kv_options(OptionSet& set, KvOptions& kv);

/// --kv-policy and --kv-budget as lists. `budget_default` ends the help of the latter.
void add_kv_lists(OptionSet& set, std::vector<std::string>& policies,
                  std::vector<KvBudget>& budgets, const std::string& budget_default);

/// Every policy with every budget; full once, without any. Of `details` a policy gets what has a
/// meaning for it. Each passes check_kv. Fails like check_kv.
std::vector<KvOptions> cross_methods(const std::vector<std::string>& policies,
                                     const std::vector<KvBudget>& budgets,
                                     const KvOptions& details);

/// "a,b,c"; an empty text is one empty word.
std::vector<std::string> split_at_commas(const std::string& text);

/// What is kept, without policy and budget.
void add_kv_details(OptionSet& set, KvOptions& kv);

/// --kv-heads and what belongs to it.
void add_kv_heads(OptionSet& set, HeadOptions& heads);

/// --cache-load and --cache-save. The options of add_kv_options are there already.
void add_cache_files(OptionSet& set, CacheOptions& cache);

/// --then.
void add_then(OptionSet& set, GenerateOptions& options);

/// --kv-show, --kv-map and --kv-dump.
void add_kv_views(OptionSet& set, GenerateOptions& options);

/// A budget of rows ("2048"), of percent ("2.5%") or of bytes ("512M", binary K, M or G). Fails
/// with kUsage.
KvBudget read_kv_budget(const std::string& name, const std::string& value);

}  // namespace winnow
