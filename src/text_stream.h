// From the bytes of tokens to text that may be shown: whole characters only, and never any part of
// a stop string.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "src/base/utf8.h"

namespace winnow {

/// Text is held back while it could still become a character or a stop string.
///
///   stop "\n\n":   push "end.\n"  gives "end."   (the line break may be half a stop string)
///                  push "Next"    gives "\nNext"
class TextStream {
 public:
  /// No stop string may be empty. Invalid UTF-8 in them becomes U+FFFD, as it does in the text.
  explicit TextStream(std::vector<std::string> stop_strings = {});

  /// Takes the bytes of one token; returns the text that is certain now. Once a stop string is
  /// complete, the text before it is returned and everything after is dropped. Of several, the one
  /// that ends first counts; of those that end together, the longest.
  std::string push(std::string_view bytes);

  /// The rest: text held back for a stop string that did not come, an incomplete character as
  /// U+FFFD.
  std::string finish();

  /// Whether a stop string was seen.
  bool stopped() const { return stopped_; }

 private:
  bool cut_at_stop();
  size_t undecided_from() const;

  std::vector<std::string> stop_strings_;
  Utf8Stream characters_;
  std::string held_;  // whole characters; after a push no longer than a stop string
  bool stopped_ = false;
};

}  // namespace winnow
