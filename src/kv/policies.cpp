// The methods that there are: a new one is a header beside these, and one line in each function.
#include "src/kv/adakv.h"
#include "src/kv/chunkkv.h"
#include "src/kv/criticalkv.h"
#include "src/kv/expected.h"
#include "src/kv/full.h"
#include "src/kv/h2o.h"
#include "src/kv/keydiff.h"
#include "src/kv/knorm.h"
#include "src/kv/laprox.h"
#include "src/kv/policy.h"
#include "src/kv/pyramidkv.h"
#include "src/kv/quest.h"
#include "src/kv/random.h"
#include "src/kv/sage.h"
#include "src/kv/snapkv.h"
#include "src/kv/streaming.h"
#include "src/kv/tova.h"

namespace winnow {

std::vector<std::string_view> policy_names() {
  return {"full",    "sage",     "laprox",  "snapkv", "pyramidkv", "adakv", "criticalkv", "tova",
          "chunkkv", "expected", "keydiff", "knorm",  "h2o",       "quest", "streaming",  "random"};
}

std::shared_ptr<const Policy> make_policy(std::string_view name, const PolicyOptions& options) {
  if (name == "full") return std::make_shared<Full>();
  if (name == "sage") return std::make_shared<Sage>();
  if (name == "laprox") return std::make_shared<LaProx>(options);
  if (name == "snapkv") return std::make_shared<SnapKv>(options);
  if (name == "pyramidkv") return std::make_shared<PyramidKv>(options);
  if (name == "adakv") return std::make_shared<AdaKv>(options);
  if (name == "criticalkv") return std::make_shared<CriticalKv>(options);
  if (name == "tova") return std::make_shared<Tova>();
  if (name == "chunkkv") return std::make_shared<ChunkKv>(options);
  if (name == "expected") return std::make_shared<Expected>();
  if (name == "keydiff") return std::make_shared<KeyDiff>();
  if (name == "knorm") return std::make_shared<KNorm>();
  if (name == "h2o") return std::make_shared<H2o>();
  if (name == "quest") return std::make_shared<Quest>();
  if (name == "streaming") return std::make_shared<Streaming>();
  if (name == "random") return std::make_shared<Random>(options.seed);
  return nullptr;
}

}  // namespace winnow
