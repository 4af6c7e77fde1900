// The options of 'winnow chat'.
#pragma once

#include "src/cli/option_set.h"
#include "src/cli/options.h"

namespace winnow {

void add_chat_options(OptionSet& set, ChatOptions& options);

/// Settles what concerns several options. Fails with kUsage.
void check_chat(ChatOptions& options);

}  // namespace winnow
