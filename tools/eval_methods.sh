#!/usr/bin/env bash
# Holds all methods against each other with the bundled model: what the README shows of it.
#
#   tools/eval_methods.sh [BOOK [OUT]]
#
# BOOK is a text of some 100,000 tokens (the one beside the model). OUT (tools/results) gets, for the question seen and unseen,
# in the order of layers and of chunks (8192 tokens, naive and patched),
#
#   methods-QUESTION-ORDER.json             the rows of all depths together
#   methods-QUESTION-ORDER.svg              accuracy by budget
#   methods-QUESTION-ORDER-footprint.svg    accuracy by KV footprint
#   methods-QUESTION-ORDER-peak.svg         accuracy by the most bytes held
#
# SAMPLES, LENGTH, WORDS (of an answer), BUDGETS, POLICIES and WINNOW may be set.
set -euo pipefail

book=${1:-weights/demo/frankenstein.txt}
out=${2:-tools/results}
winnow=${WINNOW:-build/winnow}
policies=${POLICIES:-full,sage,laprox,snapkv,pyramidkv,adakv,criticalkv,tova,chunkkv,expected,keydiff,knorm,h2o,quest,streaming,random}

for question in seen unseen; do
  for order in layer chunk chunk-patched; do
    name=$out/methods-$question-$order
    "$winnow" eval -m weights/demo needle --haystack "$book" --words weights/demo/held_out.json \
      --lengths "${LENGTH:-16384}" --answer-words "${WORDS:-8}" --samples "${SAMPLES:-40}" --depths 10 --question "$question" \
      --kv-policy "$policies" --kv-budget "${BUDGETS:-64,128,256,512,1024,2048,4096}" \
      --prefill "$order" --evict-chunk 8192 --json -o "$name.json" --plot "$name.svg" \
      --plot-footprint "$name-footprint.svg" --plot-peak "$name-peak.svg"
    python3 - "$name.json" <<'END'
import json, sys
file = sys.argv[1]
result = json.load(open(file))
result["rows"] = [row for row in result["rows"] if row["depth"] is None]
open(file, "w").write(json.dumps(result, indent=1) + "\n")
END
  done
done
