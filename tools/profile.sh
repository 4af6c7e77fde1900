#!/bin/bash
# Profiles a prompt and some tokens with what is installed, and says what picture to expect:
#
#   tools/profile.sh [table] [trace] [nsys] [ncu]     all four where none is named
#
# WINNOW is the program, PROFILE_OUT where files go, PROFILE_MODEL the options that name the model:
# "-m DIR", by default the shape of Llama-3.2-1B with random weights.
set -euo pipefail
cd "$(dirname "$0")/.."
winnow=${WINNOW:-build/winnow}
out=${PROFILE_OUT:-build/profile}
read -ra model <<<"${PROFILE_MODEL:---config tools/shapes/llama-3.2-1b.json --random-weights}"
passes=("${model[@]}" -p 2048 -n 8 -d 2048 -r 1)
mkdir -p "$out"

say() { printf '\n' && printf '%s\n' "$@"; }

# Runs a command where its program is installed, else prints it.
run_or_print() {
  if command -v "$1" >/dev/null; then
    echo "\$ $*"
    "$@"
  else
    echo "$1 is not installed here; where it is:"
    echo "  $*"
  fi
}

show_table() {
  say "== table: every kernel, in the step that launched it" \
    "A prompt is bound by its matrix products: gate_up, down and qkv take most of the time, at over half" \
    "of the TFLOP/s that the machine reaches. A token is bound by reading its weights: the same steps at" \
    "most of the GB/s. What has neither is waiting: gaps are launches, which a graph takes away."
  "$winnow" bench "${passes[@]}" --kernels
}

write_trace() {
  say "== trace: $out/trace.json, for https://ui.perfetto.dev" \
    "Above: prefill with its layers and steps, as they are launched; then decode, token by token. Below:" \
    "the kernels, without gaps in the prompt. A token's kernels come from a graph: its span above is a" \
    "short launch, with steps in it only where the graph is made. --no-graph shows them every time."
  "$winnow" bench "${passes[@]}" --trace "$out/trace.json"
}

run_nsys() {
  say "== nsys: $out/decode.nsys-rep" \
    "Rows of NVTX ranges (winnow.decode: token, layer, step) above the stream 'winnow', each step above its" \
    "kernels. Ranges inside a graph would be seen only while it is captured, hence --no-graph; leave it" \
    "out to see the gaps between kernels close."
  run_or_print nsys profile -t cuda,nvtx --capture-range=cudaProfilerApi --capture-range-end=stop \
    --force-overwrite=true -o "$out/decode" \
    "$winnow" bench "${passes[@]}" --no-graph --profile-range decode
}

run_ncu() {
  say "== ncu: $out/layer.ncu-rep, the kernels of the first layer of a token" \
    "One kernel a step: gemv_qkv_kernel, attention_decode_mma_kernel, gemv_output_kernel," \
    "gemv_gate_up_kernel and gemv_output_kernel again (down). Memory throughput near its roof and compute" \
    "far below it: reading weights is all that there is to a token. The names are those of cuda/*.cu."
  run_or_print ncu --nvtx --nvtx-include 'winnow.decode@layer/' --launch-count 5 \
    --set full --import-source yes --profile-from-start off -f -o "$out/layer" \
    "$winnow" bench "${passes[@]}" --no-graph --profile-range decode
}

parts=${*:-table trace nsys ncu}
for part in $parts; do
  case $part in
    table) show_table ;;
    trace) write_trace ;;
    nsys) run_nsys ;;
    ncu) run_ncu ;;
    *)
      echo "profile.sh: no part $part" >&2
      exit 2
      ;;
  esac
done
