// The bundled model recalls what it read long ago from a winnowed cache, and what breaks that.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/support/winnow_cases.h"

using namespace winnow;
using namespace winnow::test;

namespace {

constexpr int64_t kHaystackTokens = 1500;

struct Needle {
  const char* key;
  const char* words;
};

// Words of two tokens each that the model was never asked for: what it plans before it writes the
// first of them, six tokens, is not all of the answer.
const Needle kNeedles[] = {
    {"the silver lantern", "forests pollen abated reaching privately"},
    {"the golden harbor", "framing planes patron resent disputed"},
    {"the quiet mill", "sounded coiled trembling transit broadest"},
    {"the crimson wagon", "diffused guards exclaim deserve agitated"},
    {"the humble rabbit", "downright justly visual stepped dwells"},
    {"the ivory tower", "departure sergeant fitfully wholly succumb"},
};

/// The model and its tokenizer.
struct Demo {
  ModelFiles files = open_model("weights/demo");
  Model model = load_on_cpu("weights/demo", kHaystackTokens + 200);

  std::vector<int32_t> encode(const std::string& text) const {
    return files.tokenizer->encode(text);
  }
};

/// Text that says nothing about secrets, over and over.
constexpr const char* kFiller =
    "The road went down to the sea, and the old man walked along it every day. He looked at the "
    "boats, which had come from far away, and he thought of his brothers, who had gone with them. "
    "When the evening came he sat before his door and told the children how the world had been "
    "when he was young. They listened, and went to bed, and forgot most of it by the morning.\n";

/// The filler with a secret in its first half, and the question.
std::vector<int32_t> haystack(const Demo& demo, const Needle& needle) {
  const std::string fact =
      std::string("\nThe secret name of ") + needle.key + " is " + needle.words + ".\n";
  const std::string question =
      std::string("\nQuestion: What is the secret name of ") + needle.key + "?\nAnswer:";
  const std::vector<int32_t> filler = demo.encode(kFiller);
  std::vector<int32_t> prompt(kHaystackTokens);
  for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = filler[i % filler.size()];
  const std::vector<int32_t> start = demo.encode(fact);
  const std::vector<int32_t> end = demo.encode(question);
  prompt.insert(prompt.begin() + kHaystackTokens / 3, start.begin(), start.end());
  prompt.insert(prompt.end(), end.begin(), end.end());
  return prompt;
}

/// What goes wrong on purpose.
enum class Fault {
  kNone,
  kReindexed,  // the first token has the place that follows the number of kept rows
};

/// Whether the answer holds the needle's words.
bool recalls(const Demo& demo, const Needle& needle, const KvOptions& kv,
             Fault fault = Fault::kNone) {
  const std::vector<int32_t> prompt = haystack(demo, needle);
  Sequence sequence = make_sequence(demo.model, kv, std::ssize(prompt), std::ssize(prompt) + 20);
  sequence.prefill(prompt);
  if (fault == Fault::kReindexed) {
    const int32_t rows = sequence.cache().head(0, 0).rows;
    demo.model.device->upload(sequence.step_state().position, &rows, sizeof(rows));
  }
  std::vector<int32_t> answer;
  for (int i = 0; i < 16; ++i) {
    answer.push_back(sequence.sample(demo.files.tokenizer->vocab_size(), {}));
    sequence.decode();
  }
  return demo.files.tokenizer->decode(answer).find(needle.words) != std::string::npos;
}

int count_recalled(const Demo& demo, const KvOptions& kv, Fault fault = Fault::kNone) {
  int recalled = 0;
  for (const Needle& needle : kNeedles) recalled += recalls(demo, needle, kv, fault) ? 1 : 0;
  return recalled;
}

}  // namespace

TEST_CASE(
    "demo model: SAGE-KV recalls from a twelfth of the rows, sinks and recent rows alone do not") {
  const Demo demo;
  const int n = int(std::size(kNeedles));
  const int full = count_recalled(demo, {});
  const int sage = count_recalled(demo, kv_options("sage", 128));
  const int streaming = count_recalled(demo, kv_options("streaming", 128));
  const int random = count_recalled(demo, kv_options("random", 128));
  KvOptions no_sinks = kv_options("sage", 128);
  no_sinks.sink = 0;
  MESSAGE("recalled of ", n, ": full ", full, ", sage ", sage, ", streaming ", streaming,
          ", random ", random, ", sage without sinks ", count_recalled(demo, no_sinks));
  CHECK(full >= n - 1);
  CHECK(sage >= full - 1);
  CHECK(streaming <= 1);
  CHECK(random <= 1);
}

TEST_CASE("demo model: counting positions anew without rotating the keys breaks retrieval") {
  const Demo demo;
  CHECK(count_recalled(demo, kv_options("sage", 128), Fault::kReindexed) <= 1);
}
