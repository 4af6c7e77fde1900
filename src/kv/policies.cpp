// The methods that there are: a new one is a header beside these, and one line in each function.
#include "src/kv/adakv.h"
#include "src/kv/criticalkv.h"
#include "src/kv/full.h"
#include "src/kv/h2o.h"
#include "src/kv/laprox.h"
#include "src/kv/policy.h"
#include "src/kv/pyramidkv.h"
#include "src/kv/quest.h"
#include "src/kv/random.h"
#include "src/kv/sage.h"
#include "src/kv/snapkv.h"
#include "src/kv/streaming.h"

namespace winnow {

std::vector<std::string_view> policy_names() {
  return {"full",   "sage",      "snapkv", "pyramidkv", "adakv", "criticalkv",
          "laprox", "streaming", "h2o",    "quest",     "random"};
}

std::shared_ptr<const Policy> make_policy(std::string_view name, const PolicyOptions& options) {
  if (name == "full") return std::make_shared<Full>();
  if (name == "sage") return std::make_shared<Sage>();
  if (name == "snapkv") return std::make_shared<SnapKv>(options);
  if (name == "pyramidkv") return std::make_shared<PyramidKv>(options);
  if (name == "adakv") return std::make_shared<AdaKv>(options);
  if (name == "criticalkv") return std::make_shared<CriticalKv>(options);
  if (name == "laprox") return std::make_shared<LaProx>(options);
  if (name == "streaming") return std::make_shared<Streaming>();
  if (name == "h2o") return std::make_shared<H2o>();
  if (name == "quest") return std::make_shared<Quest>();
  if (name == "random") return std::make_shared<Random>(options.seed);
  return nullptr;
}

}  // namespace winnow
