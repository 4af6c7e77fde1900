// /stats of 'winnow chat'.
#pragma once

#include <string>
#include <string_view>

#include "src/chat/session.h"
#include "src/model.h"

namespace winnow {

/// A text that was asked for, on stderr; unlike the console's, it is there with -q, too.
void print_line(std::string_view text);

/// Turns and tokens so far, the speed of the last turn, and what the cache keeps.
void print_stats(const Model& model, const ChatSession& session, const std::string& policy,
                 const Generation& last);

}  // namespace winnow
