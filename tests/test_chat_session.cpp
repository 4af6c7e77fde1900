// Turns of a conversation over one cache: what is read, what is left to read, and what an
// interrupt, a full context or a reset leaves behind.
#include <doctest/doctest.h>

#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include "src/chat/session.h"
#include "src/cli/interrupt.h"
#include "tests/support/expect_error.h"
#include "tests/support/frame_tokenizer.h"
#include "tests/support/loaded_model.h"
#include "tests/support/tight_device.h"

namespace winnow::test {
namespace {

using Ids = std::vector<int32_t>;

constexpr int64_t kCapacity = 600;

TinyModel chat_model() {
  return {.vocab_size = FrameTokenizer::kVocabSize, .max_positions = kCapacity};
}

/// A model, a frame, and settings: replies of `max_tokens`, ended by nothing else.
struct Fixture {
  explicit Fixture(int64_t max_tokens = 20) {
    settings.sequence.capacity = kCapacity;
    settings.max_tokens = max_tokens;
  }
  ChatSession open(const FrameTokens& frame) const {
    return {model.network(), tokenizer, frame, settings};
  }

  FrameTokenizer tokenizer;
  Model model = load_tiny(chat_model(), kCapacity);
  FrameTokens chatml{tokenizer, make_frame("chatml")};
  ChatSettings settings;
};

void append(Ids& to, const Ids& more) {
  to.insert(to.end(), more.begin(), more.end());
}

/// What the model writes after `prompt`, read as one.
Ids continuation(const Fixture& fixture, const Ids& prompt) {
  Sequence sequence(fixture.model.network(), kCapacity, 0);
  GenerateRequest request;
  request.prompt = prompt;
  request.max_tokens = fixture.settings.max_tokens;
  request.stop_ids = {*fixture.chatml.stop_id()};
  return generate(sequence, fixture.tokenizer, request, {}).tokens;
}

/// SIGINT that comes with the `n`-th token.
GenerateHooks interrupt_at_token(int64_t n) {
  GenerateHooks hooks;
  auto left = std::make_shared<int64_t>(n);
  hooks.token = [left](const GeneratedToken&) {
    if (--*left == 0) raise(SIGINT);
  };
  return hooks;
}

}  // namespace

TEST_CASE("chat session: each turn goes on from all that was said, the frame's marks between") {
  Fixture fixture;
  ChatSession session = fixture.open(fixture.chatml);
  Ids text = fixture.chatml.first_turn(std::nullopt, "turn 0");
  for (int turn = 0; turn < 5; ++turn) {
    const std::string user = "turn " + std::to_string(turn);
    if (turn > 0) append(text, fixture.chatml.later_turn(user));
    const Generation reply = session.say(user, {});
    CHECK(reply.tokens == continuation(fixture, text));
    append(text, reply.tokens);
    append(text, fixture.chatml.end_of_reply());
  }
  CHECK(session.turns() == 5);
  REQUIRE(session.messages().size() == 10);
  CHECK(session.messages()[8].role == "user");
  CHECK(session.messages()[8].text == "turn 4");
  CHECK(session.messages()[9].role == "assistant");
}

TEST_CASE("chat session: a stop token that was drawn gives way to the frame's own end") {
  Fixture fixture;
  const Ids first = fixture.chatml.first_turn("be brief", "hello");
  const Ids whole = continuation(fixture, first);
  REQUIRE(whole.size() == 20);
  fixture.settings.system = "be brief";
  fixture.settings.stop_ids = {whole[7]};
  ChatSession session = fixture.open(fixture.chatml);
  const Generation reply = session.say("hello", {});
  CHECK(reply.stop_reason == StopReason::kEos);
  REQUIRE(reply.tokens.size() <= 7);
  Ids text = first;
  append(text, reply.tokens);
  append(text, fixture.chatml.end_of_reply());
  append(text, fixture.chatml.later_turn("and?"));
  const Generation second = session.say("and?", {});
  const Ids expected = continuation(fixture, text);
  CHECK(second.tokens ==
        Ids(expected.begin(), std::find(expected.begin(), expected.end(), whole[7])));
  CHECK(session.messages()[0].role == "system");
}

TEST_CASE("chat session: an interrupted reply is kept as far as it went") {
  install_interrupt_handlers();
  Fixture fixture;
  for (const int64_t n : {1, 2, 19, 20}) {
    CAPTURE(n);
    ChatSession session = fixture.open(fixture.chatml);
    const Generation reply = session.say("hello", interrupt_at_token(n));
    CHECK(interrupt_signal() == SIGINT);
    clear_interrupt();
    CHECK(reply.tokens.size() >= static_cast<size_t>(n));  // what was on its way comes, too
    Ids text = fixture.chatml.first_turn(std::nullopt, "hello");
    append(text, reply.tokens);
    append(text, fixture.chatml.end_of_reply());
    append(text, fixture.chatml.later_turn("go on"));
    CHECK(session.say("go on", {}).tokens == continuation(fixture, text));
  }
}

TEST_CASE("chat session: a turn that is stopped while it is read was never said") {
  install_interrupt_handlers();
  Fixture fixture;
  ChatSession session = fixture.open(fixture.chatml);
  GenerateHooks stop;
  stop.prefill_progress = [](uint64_t, uint64_t) { raise(SIGINT); };
  for (int turn = 0; turn < 2; ++turn) {
    CHECK(session.say("never said", stop).stop_reason == StopReason::kInterrupt);
    clear_interrupt();
    CHECK(session.turns() == turn);
    const std::string user = "turn " + std::to_string(turn);
    ChatSession other = fixture.open(fixture.chatml);
    for (int i = 0; i < turn; ++i) other.say("turn " + std::to_string(i), {});
    CHECK(session.say(user, {}).tokens == other.say(user, {}).tokens);
  }
  CHECK(session.messages().size() == 4);
}

TEST_CASE("chat session: a full context refuses the turn, and a reset makes room") {
  Fixture fixture;
  ChatSession session = fixture.open(fixture.chatml);
  const Ids fresh = session.say("hello", {}).tokens;
  const std::string longer(kCapacity, 'x');
  expect_error(ExitCode::kPrompt, {"context is full", "/reset"}, [&] { session.say(longer, {}); });
  CHECK(session.turns() == 1);
  const std::string fits(450, 'x');
  CHECK(session.say(fits, {}).tokens.size() == 20);
  expect_error(ExitCode::kPrompt, {"context is full"}, [&] { session.say(fits, {}); });
  session.reset();
  CHECK(session.turns() == 0);
  CHECK(session.messages().empty());
  CHECK(session.say("hello", {}).tokens == fresh);
}

TEST_CASE("chat session: a reply ends where the context does") {
  Fixture fixture(-1);
  ChatSession session = fixture.open(fixture.chatml);
  fixture.settings.max_tokens = kCapacity;
  const Generation reply = session.say("hello", {});
  if (reply.stop_reason == StopReason::kLength) {
    CHECK(session.sequence().cache().next_position() == kCapacity);
  }
  CHECK(reply.stop_reason != StopReason::kInterrupt);
}

/// Turns of all lengths, with exactly the memory that was planned for them; and the same with room
/// for the whole text, where nothing is copied for want of it.
TEST_CASE("chat session: the planned memory is enough for any turns, and budgets hold") {
  constexpr int64_t kTurnTokens = 30;
  constexpr int64_t kBudget = 100;
  const TempDir dir;
  write_tiny_model(dir.path(), chat_model());
  const ModelFiles files = open_network(dir.path());
  const FrameTokenizer tokenizer;
  const FrameTokens frame(tokenizer, make_frame("chatml"));
  const Model roomy = load_on_cpu(dir.path(), kCapacity);
  const auto check = [&](const KvOptions& options) {
    RunShape shape{.capacity = kCapacity, .prompt_tokens = kCapacity};
    shape.kv = resolve_kv(options, files.config, DType::kF32, kCapacity);
    shape.kv_plan = plan_kv_turns(shape.kv, kTurnTokens, kCapacity);
    if (options.reselect) CHECK(shape.kv_room() <= kBudget + kTurnTokens + options.recompact);
    BlockPages::State pages;
    const Model tight =
        load_model(files, std::make_unique<TightDevice>(files.config, pages), shape, {});
    ChatSettings settings{.sequence = {.capacity = kCapacity, .kv = shape.kv},
                          .max_tokens = kTurnTokens};
    ChatSession other(roomy.network(), tokenizer, frame, settings);
    settings.sequence.turn_tokens = kTurnTokens;
    ChatSession session(tight.network(), tokenizer, frame, settings);
    TestRandom random(7);
    for (int turn = 0; turn < 30; ++turn) {
      const auto n = static_cast<int64_t>((random.next() + 1) * (turn % 3 == 0 ? 100 : 12));
      if (session.sequence().cache().next_position() + n + 80 > kCapacity) {
        session.reset();
        other.reset();
      }
      const std::string user(static_cast<size_t>(n), 'x');
      const Generation reply = session.say(user, {});
      CHECK(reply.tokens == other.say(user, {}).tokens);
      if (options.reselect) CHECK(reply.rows_kept <= kBudget * 4);  // 2 layers of 2 KV heads
    }
    session.reset();
    session.say(std::string(kCapacity - 100, 'x'), {});
    CHECK(session.turns() == 1);
  };
  for (const bool reselect : {true, false}) {
    for (const char* policy : {"sage", "streaming", "random"}) {
      CAPTURE(reselect);
      CAPTURE(policy);
      KvOptions options{.policy = policy,
                        .budget = KvBudget{KvBudget::Unit::kRows, kBudget},
                        .reselect = reselect};
      check(options);
      options.places_in_cache = true;
      check(options);
    }
  }
}

TEST_CASE("chat session: selections on the way find their room, too") {
  constexpr int64_t kTurnTokens = 30;
  const TempDir dir;
  write_tiny_model(dir.path(), chat_model());
  const ModelFiles files = open_network(dir.path());
  const FrameTokenizer tokenizer;
  const FrameTokens frame(tokenizer, make_frame("chatml"));
  for (const int64_t recompact : {1, 7, 50}) {
    CAPTURE(recompact);
    const KvOptions options{.policy = "sage",
                            .budget = KvBudget{KvBudget::Unit::kRows, 100},
                            .reselect = true,
                            .recompact = recompact};
    RunShape shape{.capacity = kCapacity, .prompt_tokens = kCapacity};
    shape.kv = resolve_kv(options, files.config, DType::kF32, kCapacity);
    shape.kv_plan = plan_kv_turns(shape.kv, kTurnTokens, kCapacity);
    BlockPages::State pages;
    const Model model =
        load_model(files, std::make_unique<TightDevice>(files.config, pages), shape, {});
    ChatSession session(
        model.network(), tokenizer, frame,
        {.sequence = {.capacity = kCapacity, .kv = shape.kv, .turn_tokens = kTurnTokens},
         .max_tokens = kTurnTokens});
    for (int turn = 0; turn < 7; ++turn) {
      session.say(std::string(turn == 5 ? 120 : 10, 'x'), {});
      CHECK(session.sequence().cache().rows_held() <= 4 * (100 + recompact));
    }
    CHECK(session.turns() == 7);
  }
}

}  // namespace winnow::test
