// Byte-level BPE against the ids that llama.cpp keeps of Hugging Face's tokenizers.
#include <doctest/doctest.h>

#include <filesystem>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/random_text.h"
#include "tests/support/temp_dir.h"
#include "tokenizer/tokenizer.h"

using namespace winnow;

namespace {

using Ids = std::vector<int32_t>;

struct Golden {
  std::string tokenizer;  // folder
  std::string cases;      // NAME.inp: texts; NAME.out: a line of ids for each
};

}  // namespace

TEST_CASE("encode gives the golden ids of Llama-3, Qwen2 and GPT-2") {
  for (const auto& [folder, name] :
       {Golden{"llama3", "llama-bpe"}, Golden{"qwen2.5", "qwen2"}, Golden{"gpt2", "gpt-2"}}) {
    const std::string dir = "../shared/data/tokenizers/" + folder;
    const std::string golden = "../shared/data/golden/" + name;
    if (!std::filesystem::exists(dir) || !std::filesystem::exists(golden + ".inp")) {
      MESSAGE("skipped, not there: ", dir);
      continue;
    }
    const auto tokenizer = load_tokenizer(dir);
    const std::vector<std::string> texts =
        test::split(test::read_file(golden + ".inp"), "\n__ggml_vocab_test__\n");
    const std::vector<std::string> lines = test::split(test::read_file(golden + ".out"), "\n");
    REQUIRE(texts.size() == lines.size());
    CHECK(texts.size() >= 45);
    for (size_t i = 0; i < texts.size(); ++i) {
      std::istringstream line(lines[i]);
      const Ids expected{std::istream_iterator<int32_t>(line), {}};
      CAPTURE(name);
      CAPTURE(texts[i]);
      CHECK(tokenizer->encode(texts[i]) == expected);
      CHECK(tokenizer->decode(expected) == texts[i]);
    }
  }
}
