// winnow chat: turns of a conversation in, replies out, until the input ends.
#include <algorithm>
#include <csignal>
#include <memory>
#include <string>
#include <string_view>

#include "src/base/utf8.h"
#include "src/chat/line_input.h"
#include "src/chat/recognise.h"
#include "src/chat/session.h"
#include "src/chat/transcript.h"
#include "src/cli/interrupt.h"
#include "src/cli/output.h"
#include "src/cli/progress.h"
#include "src/commands/chat_stats.h"
#include "src/commands/commands.h"
#include "src/commands/sampling.h"
#include "src/commands/session.h"

namespace winnow {
namespace {

constexpr std::string_view kHelp =
    "/reset       a new conversation; /stats  what the cache holds, and how fast it went\n"
    "/save FILE   the conversation as text, or as JSON where FILE ends in .json\n"
    "/exit        ends the program, as Ctrl-D does; Ctrl-C stops a reply\n"
    "A backslash at a line's end goes on in the next line; \"\"\" begins and ends a text of many "
    "lines,\nwhich is never a command.";

/// The loop, and what it works with.
class Chat {
 public:
  Chat(const ChatOptions& options, const Console& console, const Model& model, ChatSession& session)
      : options_(options),
        console_(console),
        model_(model),
        session_(session),
        input_(open_line_input()),
        out_({}) {}

  ExitCode run() {
    for (bool go_on = true; go_on && ended_by_ == ExitCode::kOk;) {
      const InputTurn turn = read_turn(*input_);
      if (turn.event == InputLine::Event::kEnd) break;
      go_on = turn.event == InputLine::Event::kInterrupt ? interrupted() : take(turn);
    }
    return ended_by_;
  }

 private:
  /// Ctrl-C at the prompt. The second one in a row ends the program.
  bool interrupted() {
    if (interrupts_++ > 0) ended_by_ = ExitCode::kInterrupted;
    if (interrupts_ == 1) console_.summary("Ctrl-C once more, or Ctrl-D, ends the chat");
    return true;
  }

  /// A turn or a command. What goes wrong with it ends the chat only where nobody is there to try
  /// again. False where the chat is to end.
  bool take(const InputTurn& turn) {
    interrupts_ = 0;
    try {
      if (!turn.quoted && turn.text.starts_with('/')) return command(turn.text);
      if (!turn.text.empty()) say(turn.text);
    } catch (const Error& error) {
      if (!input_->interactive() || !survives(error.code())) throw;
      console_.error(error.what());
    }
    return true;
  }

  /// What a prompt that is too long, a lack of memory for it, or a wrong command come to.
  bool survives(ExitCode code) const {
    if (replying_) return false;
    return code == ExitCode::kPrompt || code == ExitCode::kMemory || code == ExitCode::kUsage ||
           code == ExitCode::kIo;
  }

  bool command(std::string_view line) {
    const std::string_view name = line.substr(0, line.find_first_of(" \t"));
    const std::string_view rest = strip(line.substr(name.size()));
    if (name == "/exit") return false;
    if (name == "/save") {
      if (rest.empty()) fail(ExitCode::kUsage, "/save needs a file: /save FILE");
      save_transcript(std::string(rest), session_.messages());
      console_.note("saved to " + std::string(rest));
    } else if (name == "/reset") {
      session_.reset();
      console_.note("a new conversation");
    } else if (name == "/stats") {
      print_stats(model_, session_, options_.kv.policy, last_);
    } else if (name == "/help") {
      print_line(kHelp);
    } else {
      fail(ExitCode::kUsage, "there is no command ", quoted(std::string(name)),
           "; /help lists them, and a text between \"\"\" may begin with a slash");
    }
    return true;
  }

  void say(const std::string& text) {
    const bool valid = utf8_find_invalid(text) == std::string::npos;
    if (!valid) console_.warn("invalid UTF-8 was replaced by U+FFFD");
    Progress progress(options_.model.progress, "prefill", "tokens");
    GenerateHooks hooks;
    hooks.prefill_progress = [&](uint64_t done, uint64_t total) {
      const auto layers = static_cast<uint64_t>(model_.config.n_layers);
      progress.update(done / layers, total / layers);
    };
    hooks.prompt_read = [&] {
      progress.erase();
      replying_ = true;
    };
    hooks.token = [&](const GeneratedToken& token) { out_.write(token.text); };
    hooks.rest = [&](const std::string& rest) { out_.write(rest); };
    const int64_t turns = session_.turns();
    last_ = session_.say(valid ? text : utf8_replace_invalid(text), hooks);
    progress.erase();
    if (replying_ && !last_.text.ends_with('\n')) out_.write("\n");
    replying_ = false;
    if (session_.turns() == turns)
      console_.warn("stopped before the turn was read: it is not said");
    tell_end();
  }

  /// Why a reply ended, where that is not its own end.
  void tell_end() {
    const auto n = static_cast<int64_t>(last_.tokens.size());
    if (last_.stop_reason == StopReason::kLength) {
      console_.warn(n == options_.max_tokens
                        ? "the reply was cut after " + std::to_string(n) + " tokens (-n)"
                        : "the context is full, and the reply was cut; /reset starts anew");
    }
    if (last_.stop_reason != StopReason::kInterrupt) return;
    const int signal = interrupt_signal();
    if (!input_->interactive() || signal != SIGINT) {
      ended_by_ = static_cast<ExitCode>(128 + signal);
      return;
    }
    clear_interrupt();
  }

  const ChatOptions& options_;
  const Console& console_;
  const Model& model_;
  ChatSession& session_;
  std::unique_ptr<LineInput> input_;
  Output out_;
  Generation last_;
  bool replying_ = false;  // the prompt was read: an error now is not the turn's alone
  int interrupts_ = 0;     // Ctrl-C at the prompt in a row
  ExitCode ended_by_ = ExitCode::kOk;
};

RunShape make_shape(const ChatOptions& options, const ModelFiles& files, const Device& device,
                    const SamplerOptions& sampler, int64_t context) {
  KvOptions kv = options.kv;
  kv.policy_options.seed = sampler.seed;
  RunShape shape{
      .capacity = context, .prompt_tokens = context, .prefill_rows = options.compute.prefill_rows};
  shape.kv = resolve_kv(kv, files.config, device.compute_type(), context);
  const int64_t turn = options.max_tokens < 0 ? context : std::min(options.max_tokens, context);
  shape.kv_plan = plan_kv_turns(shape.kv, turn, context);
  return shape;
}

/// For the whole context; where the user names none and it does not fit, for the greatest half,
/// quarter, ... of it that does.
RunShape fit_shape(const ChatOptions& options, const ModelFiles& files, const Device& device,
                   const SamplerOptions& sampler, const Console& console) {
  constexpr int64_t kLeast = 2048;
  const int64_t whole = context_size(files.config, options.compute.context, console);
  int64_t context = whole;
  RunShape shape = make_shape(options, files, device, sampler, context);
  while (options.compute.context == 0 && context / 2 >= kLeast &&
         plan_memory(files, device, shape).total() > device.available_bytes()) {
    context /= 2;
    shape = make_shape(options, files, device, sampler, context);
  }
  if (context < whole) {
    console.warn("the model's context of " + std::to_string(whole) +
                 " tokens needs more memory than is free: " + std::to_string(context) +
                 " are used; -c N asks for others");
  }
  return shape;
}

std::vector<int32_t> all_stop_ids(const ModelFiles& files) {
  std::vector<int32_t> ids = files.stop_ids;
  for (const int32_t id : files.tokenizer->stop_ids()) {
    if (std::ranges::count(ids, id) == 0) ids.push_back(id);
  }
  return ids;
}

}  // namespace

ExitCode run_chat(const ChatOptions& asked) {
  ChatOptions options = asked;
  const Console console(options.model);
  const ModelFiles files = noted(open_model(options.model.dir), console);
  read_head_mask(options.kv.heads, files.config);
  std::string why;
  const FrameTokens frame(*files.tokenizer, choose_frame(options.model.dir, options.frame, why));
  console.summary("chat    frame " + frame.frame().name + ", " + why);
  auto device = open_device(files, options.compute, console);
  const SamplerOptions sampler =
      settle_sampler(options.sampler, options.seed, files.config.sampling, console);
  const RunShape shape = fit_shape(options, files, *device, sampler, console);
  const Model model = load_with_progress(files, std::move(device), options.model, shape, console);
  const int64_t turn_tokens = shape.kv.policy ? std::max<int64_t>(options.max_tokens, 0) : 0;
  ChatSession session(model.network(), *files.tokenizer, frame,
                      {.system = options.system,
                       .sequence = {.capacity = shape.capacity,
                                    .prefill_rows = shape.prefill_rows,
                                    .kv = shape.kv,
                                    .turn_tokens = turn_tokens},
                       .max_tokens = options.max_tokens,
                       .sampler = sampler,
                       .stop_ids = all_stop_ids(files),
                       .stop_strings = options.stop_strings});
  return Chat(options, console, model, session).run();
}

}  // namespace winnow
