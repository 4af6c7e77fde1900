// How sure a measured share or mean is.
#pragma once

#include <cstdint>
#include <span>

#include "src/eval/row.h"

namespace winnow {

/// Wilson's score interval with 95 % confidence for `successes` out of `n`; for p = successes / n
/// and z = 1.96
///
///   (p + z^2 / 2n  -+  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
///
/// It stays between 0 and 1 and has a width where all samples agree. n = 0 gives 0..1.
Interval wilson_interval(int64_t successes, int64_t n);

/// The interval of the mean of `scores`, each from 0 to 1, with 95 % confidence. No scores give
/// 0..1.
///
/// Where all are 0 or 1 it is Wilson's. Otherwise it is Student's t interval,
///
///   mean -+ t(n - 1) s / sqrt(n),   s^2 = sum (score - mean)^2 / (n - 1)
///
/// cut off at 0 and 1: samples are few, where the normal interval is too narrow, and a bootstrap
/// would have to draw. Scores that are all the same, as a single one is, say nothing about their
/// spread. Theirs is the largest that scores with that mean can have, p (1 - p), which is Wilson's
/// interval again, with the mean as p.
Interval mean_interval(std::span<const double> scores);

}  // namespace winnow
