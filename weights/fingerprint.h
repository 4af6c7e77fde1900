// Which model it is: two numbers that copies of a model share, and other models do not.
//
//   config    every key and value of config.json, in order of keys, but those that only tell where
//             the file comes from
//   weights   of every tensor in order of names: name, type, shape, and bytes of it - all of a
//             small tensor (a norm), 16 blocks spread evenly over a large one, both its ends
//             included
//
//   tensor  |####......####......####......  ...  ......####|
//
// A fine-tune with equal shapes differs in the bytes: training moves practically every element of a
// tensor that it touches, and every tensor is looked at. What is not seen is a change to a few
// elements by hand, between the blocks; to see that, all bytes would have to be read. Some
// thousands of reads, whatever the size of the model. No protection against intent: these are
// FNV-1a.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "weights/checkpoint.h"

namespace winnow {

struct ModelFingerprint {
  uint64_t config = 0;
  uint64_t weights = 0;
};

/// Of DIR/config.json. Fails with kModel or kIo where it cannot be read.
uint64_t config_fingerprint(const std::filesystem::path& dir);

/// The same from text; `name` is the file's name in messages.
uint64_t config_fingerprint(std::string_view text, std::string_view name);

/// Of all tensors. Fails with kIo where one cannot be read.
uint64_t weights_fingerprint(const Checkpoint& checkpoint);

}  // namespace winnow
