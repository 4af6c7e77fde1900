// How fast this GPU reads its memory: what decode is measured against.
#pragma once

namespace winnow::test {

/// The median over several passes over 4 GiB that lie in no cache, in 10^9 bytes a second.
double read_ceiling_gbps();

}  // namespace winnow::test
