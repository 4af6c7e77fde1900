// Which frame a template asks for, and templates that ask for none.
#include <doctest/doctest.h>

#include <filesystem>
#include <string>

#include "src/chat/recognise.h"
#include "tests/support/expect_error.h"
#include "tests/support/temp_dir.h"

using namespace winnow;
using winnow::test::expect_error;
using winnow::test::TempDir;
using winnow::test::write_file;

namespace {

std::string inst(const std::string& before, const std::string& after) {
  return "{{ bos_token }}{% for m in messages %}{{ '" + before + "' + m.content + '" + after +
         "' }}{% endfor %}";
}

const std::string kHeader =
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content + '<|eot_id|>' }}";
const std::string kImTurn =
    "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}";

std::string asking(const std::string& literal) {
  return "{% if add_generation_prompt %}{{ '" + literal + "' }}{% endif %}";
}
const std::string kAskIm = asking("<|im_start|>assistant\\n");

/// The frame's name; empty: not recognised.
std::string name_of(const std::string& chat_template) {
  const std::optional<Frame> frame = recognise_template(chat_template);
  return frame ? frame->name : "";
}

}  // namespace

TEST_CASE("templates are recognised by the marks of their family") {
  CHECK(name_of("{{ '<<SYS>>\\n' + s }}" + inst("[INST] ", " [/INST]")) == "llama2");
  CHECK(name_of(inst("[INST] ", " [/INST]")) == "mistral-v1");
  CHECK(name_of(inst(" [INST] ", " [/INST]")) == "mistral-v1");
  CHECK(name_of(inst("[INST] ", "[/INST]")) == "mistral-v3");
  CHECK(name_of(inst("[INST]", "[/INST]")) == "mistral-tekken");
  CHECK(name_of(kHeader) == "llama3");
  CHECK(name_of(kHeader + asking("<|start_header_id|>assistant<|end_header_id|>\\n\\n")) ==
        "llama3");
  CHECK(name_of("{{ 'Cutting Knowledge Date: December 2023\\n' }}" + kHeader) == "llama3.1");
  CHECK(name_of(kImTurn) == "chatml");
  CHECK(name_of(kImTurn + kAskIm) == "chatml");
  CHECK(name_of(kImTurn + "{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}" +
                "{{ \"<|im_start|>assistant\\n\" }}{% endif %}") == "chatml");
}

TEST_CASE("what is not recognised is not guessed") {
  for (const std::string& other :
       {std::string(), std::string("{{ messages }}"), std::string("<|user|>\n<|end|>"),
        std::string("<start_of_turn>user\n"), std::string("[INST]"), std::string("<|im_start|>"),
        inst("[INST]", " [/INST]"), inst("[INST] ", " [/INST]") + "[SYSTEM_PROMPT]",
        "<<SYS>>" + inst("[INST]", "[/INST]"), kHeader + kImTurn,
        kImTurn + inst("[INST] ", " [/INST]"), kHeader + asking("<|start_header_id|>you"),
        kHeader + "Cutting Knowledge Date: May 2031",
        kImTurn + asking("<|im_start|>assistant<|im_sep|>"),
        kImTurn + "{% if add_generation_prompt %}", kImTurn + "{% if add_generation_prompt",
        kImTurn + "{% if add_generation_prompt %}{{ '<|im_start|>assistant"}) {
    CAPTURE(other);
    CHECK(name_of(other).empty());
  }
}

TEST_CASE("a ChatML template's own system text, BOS and opening words join the frame") {
  const auto frame = [](const std::string& text) { return recognise_template(text).value(); };
  CHECK_FALSE(frame(kImTurn + kAskIm).default_system);
  CHECK(frame(kImTurn + kAskIm).begin.empty());
  const std::string owl = "{{ '<|im_start|>system\\nYou\\'re an \\\\ owl.\\nHoot.<|im_end|>\\n' }}";
  CHECK(frame(owl + kImTurn + kAskIm).default_system == "You're an \\ owl.\nHoot.");
  CHECK(frame("{{ \"<|im_start|>system\nreal line<|im_end|>\" }}" + kImTurn).default_system ==
        "real line");
  const std::string joined = "{{ '<|im_start|>system\\n' + m.content + '<|im_end|>\\n' }}";
  CHECK_FALSE(frame(joined + kImTurn + kAskIm).default_system);
  CHECK(frame("{{ bos_token }}" + kImTurn).begin.size() == 1);
  const Frame thinking = frame(kImTurn + asking("<|im_start|>assistant\\n<think>\\n"));
  CHECK(thinking.after_user.back().text == "assistant\n<think>\n");
}

TEST_CASE("vendors' templates, where they are there, are recognised") {
  for (const auto& [file, name] :
       {std::pair{"Qwen-Qwen2.5-7B-Instruct", "chatml"},
        std::pair{"meta-llama-Llama-3.1-8B-Instruct", "llama3.1"},
        std::pair{"mistralai-Mistral-Nemo-Instruct-2407", "mistral-tekken"}}) {
    const std::string path = "../shared/data/chat-templates/" + std::string(file) + ".jinja";
    if (!std::filesystem::exists(path)) {
      MESSAGE("skipped, not there: ", path);
      continue;
    }
    const std::optional<Frame> frame = recognise_template(test::read_file(path));
    REQUIRE(frame);
    CHECK(frame->name == name);
    if (frame->name == "chatml") {
      CHECK(frame->default_system == make_frame("qwen2.5").default_system);
    }
  }
}

TEST_CASE("the template is read from the file that a model has") {
  const TempDir dir;
  const auto choose = [&](const std::string& name = "") {
    std::string why;
    const Frame frame = choose_frame(dir.path(), name, why);
    return frame.name + ": " + why;
  };
  const auto config = [&](const std::string& text) {
    write_file(dir / "tokenizer_config.json", text);
  };
  expect_error(ExitCode::kModel, {"no chat template", "--chat-template", "chatml", "none"}, choose);
  config("{}");
  expect_error(ExitCode::kModel, {"no chat template"}, choose);
  CHECK(choose("none") == "none: by --chat-template");
  write_file(dir / "chat_template.json", R"({"chat_template": "<|im_start|> <|im_end|>"})");
  CHECK(choose().starts_with("chatml: recognised in "));
  CHECK(choose().ends_with("chat_template.json"));
  config(R"({"chat_template": "[INST] x [/INST]"})");
  CHECK(choose().starts_with("mistral-v1"));
  config(R"({"chat_template": [{"name": "tool_use", "template": "?"},
                               {"name": "default", "template": "[INST][/INST]"}]})");
  CHECK(choose().starts_with("mistral-tekken"));
  write_file(dir / "chat_template.jinja", "<|start_header_id|><|end_header_id|><|eot_id|>");
  CHECK(choose().starts_with("llama3"));
  write_file(dir / "chat_template.jinja", "{{ 'unknown' }}");
  expect_error(ExitCode::kModel, {"chat_template.jinja", "not recognised", "--chat-template"},
               choose);
  CHECK(choose("llama3") == "llama3: by --chat-template");
}

TEST_CASE("malformed templates are refused in one line") {
  const TempDir dir;
  const auto choose = [&] {
    std::string why;
    choose_frame(dir.path(), "", why);
  };
  for (const char* const bad :
       {"", "{", "[]", R"({"chat_template": 5})", R"({"chat_template": {}})",
        R"({"chat_template": []})", R"({"chat_template": ["x"]})",
        R"({"chat_template": [{"name": "default"}]})",
        R"({"chat_template": [{"name": "default", "template": 7}]})",
        R"({"chat_template": [{"name": "other", "template": "x"}]})",
        "{\"chat_template\": \"\xff\"}"}) {
    CAPTURE(bad);
    write_file(dir / "tokenizer_config.json", bad);
    expect_error(ExitCode::kModel, {"tokenizer_config.json"}, choose);
  }
  const std::string huge((2 << 20) + 1, 'x');
  write_file(dir / "tokenizer_config.json", R"({"chat_template": ")" + huge + "\"}");
  expect_error(ExitCode::kModel, {"tokenizer_config.json", "1 MiB"}, choose);
  write_file(dir / "chat_template.jinja", huge);
  expect_error(ExitCode::kModel, {"chat_template.jinja"}, choose);
  std::string nested;
  for (int i = 0; i < 100000; ++i) nested += "{% for a in b %}";
  write_file(dir / "chat_template.jinja", nested.substr(0, 1 << 20));
  expect_error(ExitCode::kModel, {"not recognised"}, choose);
}
