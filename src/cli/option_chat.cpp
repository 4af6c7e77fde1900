#include "src/cli/option_chat.h"

#include "src/chat/frame.h"
#include "src/cli/option_kv.h"
#include "src/cli/option_shared.h"

namespace winnow {

void add_chat_options(OptionSet& set, ChatOptions& options) {
  set.begin_group("Conversation");
  set.add_value({"--system", "TEXT", "what the model is told first (default the template's own)"},
                [&options](const std::string& name, const std::string& value) {
                  refuse_invalid_utf8(name, value);
                  options.system = value;
                });
  Choices<std::string> frames = {{"auto", ""}};
  for (const std::string& name : frame_names()) frames.emplace_back(name, name);
  set.add_choice({"--chat-template", "", "how turns are written; auto: as the model's template"},
                 options.frame, frames);
  set.begin_group("Length and end");
  add_max_tokens(set, options.max_tokens);
  add_context(set, options.compute.context);
  add_stop_strings(set, options.stop_strings);
  add_sampler_options(set, options.sampler, options.seed);
  add_kv_options(set, options.kv);
  add_compute_options(set, options.compute);
}

void check_chat(ChatOptions& options) {
  if (options.system && options.frame == "none") {
    fail(ExitCode::kUsage, "--system has no place in --chat-template none");
  }
  if (options.max_tokens == 0)
    fail(ExitCode::kUsage, "'winnow chat' needs -n of at least 1, or -1");
  const auto policy = make_policy(options.kv.policy);
  if (policy && keeps_every_row(*policy)) options.kv.reselect = false;
  options.kv.policy_options.seed = options.seed.value_or(0);
  check_kv(options.kv);
}

}  // namespace winnow
