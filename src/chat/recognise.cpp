#include "src/chat/recognise.h"

#include "src/base/error.h"
#include "src/base/file.h"
#include "src/base/json.h"
#include "tokenizer/json_fields.h"

namespace winnow {
namespace {

constexpr uint64_t kMaxTemplateBytes = uint64_t{1} << 20;
constexpr uint64_t kMaxFileBytes = uint64_t{16} << 20;  // of JSON that holds more than a template

bool holds(std::string_view text, std::string_view mark) {
  return text.find(mark) != std::string_view::npos;
}

/// Up to the quote that ends a string literal of Jinja, from inside of it: its text, with \n, \t,
/// \\, \' and \" resolved. Nothing where it does not end.
std::optional<std::string> literal(std::string_view text, char quote) {
  std::string value;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == quote) return value;
    if (text[i] != '\\' || i + 1 == text.size()) {
      value.push_back(text[i]);
      continue;
    }
    ++i;
    switch (text[i]) {
      case 'n': value.push_back('\n'); break;
      case 't': value.push_back('\t'); break;
      default: value.push_back(text[i]);
    }
  }
  return std::nullopt;
}

/// The first string literal of `text`.
std::optional<std::string> first_literal(std::string_view text) {
  const size_t start = text.find_first_of("'\"");
  if (start == std::string_view::npos) return std::nullopt;
  return literal(text.substr(start + 1), text[start]);
}

/// What the template writes where it asks the model for a reply, the first literal after
/// "{% if add_generation_prompt %}"; nothing where it does not ask.
std::optional<std::string> reply_opening(std::string_view chat_template) {
  const size_t asked = chat_template.rfind("add_generation_prompt");
  if (asked == std::string_view::npos) return std::nullopt;
  const size_t tag_end = chat_template.find("%}", asked);
  if (tag_end == std::string_view::npos) return "";
  return first_literal(chat_template.substr(tag_end)).value_or("");
}

std::optional<Frame> recognise_inst(std::string_view chat_template) {
  if (holds(chat_template, "[SYSTEM_PROMPT]")) return std::nullopt;
  const bool space_after = holds(chat_template, "[INST] ");
  const bool space_before_end = holds(chat_template, " [/INST]");
  if (holds(chat_template, "<<SYS>>")) {
    if (!space_after || !space_before_end) return std::nullopt;
    return make_frame("llama2");
  }
  if (space_after) return make_frame(space_before_end ? "mistral-v1" : "mistral-v3");
  if (space_before_end) return std::nullopt;
  return make_frame("mistral-tekken");
}

std::optional<Frame> recognise_llama3(std::string_view chat_template) {
  const std::string opening =
      reply_opening(chat_template).value_or("<|start_header_id|>assistant<|end_header_id|>\n\n");
  if (opening != "<|start_header_id|>assistant<|end_header_id|>\n\n") return std::nullopt;
  if (!holds(chat_template, "Cutting Knowledge Date")) return make_frame("llama3");
  if (!holds(chat_template, "Cutting Knowledge Date: December 2023")) return std::nullopt;
  return make_frame("llama3.1");
}

/// The system text of a literal like '<|im_start|>system\nYou are ...<|im_end|>\n'.
std::optional<std::string> chatml_default_system(std::string_view chat_template) {
  constexpr std::string_view kStart = "<|im_start|>system";
  constexpr std::string_view kEnd = "<|im_end|>";
  for (size_t at = 0; (at = chat_template.find(kStart, at)) != std::string_view::npos;
       at += kStart.size()) {
    if (at == 0) continue;
    const char quote = chat_template[at - 1];
    if (quote != '\'' && quote != '"') continue;
    const std::optional<std::string> whole = literal(chat_template.substr(at), quote);
    if (!whole || !holds(*whole, kEnd)) continue;
    const std::string inner = whole->substr(kStart.size(), whole->find(kEnd) - kStart.size());
    if (inner.starts_with('\n')) return inner.substr(1);
  }
  return std::nullopt;
}

std::optional<Frame> recognise_chatml(std::string_view chat_template) {
  Frame frame = make_frame("chatml");
  constexpr std::string_view kOpening = "<|im_start|>assistant\n";
  const std::string opening = reply_opening(chat_template).value_or(std::string(kOpening));
  if (!opening.starts_with(kOpening)) return std::nullopt;
  frame.after_user.back().text += opening.substr(kOpening.size());
  frame.default_system = chatml_default_system(chat_template);
  if (holds(chat_template, "bos_token")) frame.begin = {{FramePart::Kind::kBos}};
  return frame;
}

/// The text of one file's `chat_template`: a string, or a list of named ones.
std::optional<std::string> template_of(const JsonFields& fields) {
  constexpr std::string_view kKey = "chat_template";
  const Json* const value = fields.find(kKey);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  if (!value->is_array()) fields.wrong_type(kKey, *value, "a template or a list of templates");
  for (const JsonFields& named : fields.objects(kKey)) {
    if (named.text("name") == "default") return named.text("template");
  }
  fields.reject("chat_template has no template that is named \"default\"");
}

std::optional<std::string> template_of_file(const std::filesystem::path& file) {
  const std::string name = file.string();
  if (!path_exists(file)) return std::nullopt;
  const Json root = parse_json(read_model_file(file, kMaxFileBytes), name);
  return template_of(JsonFields(root, name));
}

}  // namespace

std::optional<Frame> recognise_template(std::string_view chat_template) {
  const bool inst = holds(chat_template, "[INST]") && holds(chat_template, "[/INST]");
  const bool llama3 = holds(chat_template, "<|start_header_id|>") &&
                      holds(chat_template, "<|end_header_id|>") &&
                      holds(chat_template, "<|eot_id|>");
  const bool chatml = holds(chat_template, "<|im_start|>") && holds(chat_template, "<|im_end|>");
  if (int{inst} + int{llama3} + int{chatml} != 1) return std::nullopt;
  if (inst) return recognise_inst(chat_template);
  return llama3 ? recognise_llama3(chat_template) : recognise_chatml(chat_template);
}

std::optional<ChatTemplate> read_chat_template(const std::filesystem::path& dir) {
  const std::filesystem::path jinja = dir / "chat_template.jinja";
  if (path_exists(jinja)) {
    return ChatTemplate{read_model_file(jinja, kMaxTemplateBytes), jinja.string()};
  }
  for (const char* const name : {"tokenizer_config.json", "chat_template.json"}) {
    const std::filesystem::path file = dir / name;
    std::optional<std::string> text = template_of_file(file);
    if (!text) continue;
    if (text->size() > kMaxTemplateBytes) {
      fail(ExitCode::kModel, file.string(), ": the chat template is longer than 1 MiB");
    }
    return ChatTemplate{*std::move(text), file.string()};
  }
  return std::nullopt;
}

Frame choose_frame(const std::filesystem::path& dir, const std::string& name, std::string& why) {
  if (!name.empty()) {
    why = "by --chat-template";
    return make_frame(name);
  }
  std::string names;
  for (const std::string& known : frame_names()) names += (names.empty() ? "" : ", ") + known;
  const std::string advice = "--chat-template NAME chooses one of " + names;
  const std::optional<ChatTemplate> found = read_chat_template(dir);
  if (!found) fail(ExitCode::kModel, dir.string(), ": the model has no chat template; ", advice);
  std::optional<Frame> frame = recognise_template(found->text);
  if (!frame) {
    fail(ExitCode::kModel, found->file, ": the chat template is not recognised; ", advice);
  }
  why = "recognised in " + found->file;
  return *std::move(frame);
}

}  // namespace winnow
