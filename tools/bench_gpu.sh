#!/bin/bash
# What the README says about speed, measured on the GPU of this machine: one JSON file a run in
# BENCH_OUT (tools/results), from which tools/readme_tables.py makes the tables.
#
#   tools/bench_gpu.sh [PART...]    decode kernels prefill 1b 512k (these five where none is named,
#                                   about 6 minutes of one H200), 1m (10 minutes more)
set -euo pipefail
cd "$(dirname "$0")/.."
winnow=${WINNOW:-build/winnow}
out=${BENCH_OUT:-tools/results}
parts=${*:-decode kernels prefill 1b 512k}
mkdir -p "$out"

# measure NAME SHAPE OPTION...: runs bench over random weights of a shape and keeps its result. A
# file appears only when its run is through.
measure() {
  local name=$1 shape=$2
  shift 2
  echo "== $name: $*" >&2
  "$winnow" bench --device cuda --config "tools/shapes/$shape.json" --random-weights -c 1100000 \
    --json -o "$out/bench-$name.json" "$@"
}

winnowed=(--kv-policy sage --kv-budget 2048)

decode() {
  measure decode llama-3.1-8b -p 0 -n 128 -d 0,8192,32768,131072 -r 5
  measure decode-winnowed llama-3.1-8b -p 0 -n 128 -d 8192,131072 -r 5 "${winnowed[@]}"
}

kernels() {
  measure kernels-token llama-3.1-8b -p 1 -r 5 \
    --kernel embed,qkv,attention_output,gate_up,down,logits,sample
  measure kernels-attention-decode llama-3.1-8b -d 2048,8192,32768,131072 -r 5 \
    --kernel attention_decode
  measure kernels-attention-winnowed llama-3.1-8b -d 131072 -r 5 --kernel attention_decode \
    --kv-policy sage --kv-budget 2048,8192
  measure kernels-prompt llama-3.1-8b -p 8448 -r 5 --kernel qkv,attention_output,gate_up,down
  measure kernels-attention llama-3.1-8b -p 8192,32768,131072 -r 5 --kernel attention_prefill
  measure kernels-winnow llama-3.1-8b -d 131072 -r 5 "${winnowed[@]}" \
    --kernel attention_scores,random_scores,combine_scores,top_k,list_kept,gather_rows
}

prefill() {
  measure prefill llama-3.1-8b -p 8192,32768 -n 0 -r 5
  measure prefill-128k llama-3.1-8b -p 131072 -n 0 -r 3
  measure prefill-128k-winnowed llama-3.1-8b -p 131072 -n 0 -r 3 "${winnowed[@]}"
}

1b() {
  measure decode-1b llama-3.2-1b -p 0 -n 128 -d 0,8192 -r 5
  measure kernels-attention-1b llama-3.2-1b -p 8192 -r 5 --kernel attention_prefill
}

512k() { measure prefill-512k llama-3.1-8b -p 524288 -n 0 -r 1 "${winnowed[@]}"; }

1m() { measure prefill-1m llama-3.1-8b -p 1048576 -n 0 -r 1 "${winnowed[@]}"; }

for part in $parts; do
  case $part in
    decode | kernels | prefill | 1b | 512k | 1m) "$part" ;;
    *)
      echo "bench_gpu.sh: no part $part" >&2
      exit 2
      ;;
  esac
done
