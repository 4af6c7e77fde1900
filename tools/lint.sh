#!/bin/bash
# The house rules that a machine can check: files of at most 400 lines; kernels that are named after
# their file, so that a profile says where to look; then clang-tidy (.clang-tidy: functions of at most
# 60 lines among others) on every .cpp given but the tests, whose lambdas capture structured bindings,
# which clang 14 does not know.
set -uo pipefail

status=0
for file in "$@"; do
  lines=$(wc -l <"$file")
  if ((lines > 400)); then
    echo "$file: $lines lines; a file has at most 400" >&2
    status=1
  fi
done

before_name='__global__(\s|void|__launch_bounds__\([^)]*\)|__maxnreg__\([^)]*\))*'
for file in cuda/*.cu; do
  for kernel in $(tr '\n' ' ' <"$file" | grep -oP "$before_name\K\w+(?=\()"); do
    if [[ $kernel != $(basename "$file" .cu)_* ]]; then
      echo "$file: $kernel; a kernel's name begins with that of its file" >&2
      status=1
    fi
  done
done

host_code() {
  for file in "$@"; do
    if [[ $file == *.cpp && $file != tests/* ]]; then echo "$file"; fi
  done
}
host_code "$@" |
  xargs -P "$(nproc)" -I FILE clang-tidy-14 --quiet FILE -- -std=c++20 -I. -fopenmp -Wreserved-identifier \
    -march=x86-64-v3 -isystem "${CUDA_INCLUDE:-/usr/local/cuda/include}" \
    2> >(grep -v 'warnings generated' >&2) || status=1
exit $status
