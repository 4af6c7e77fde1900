#!/bin/bash
# What `make run` shows: the bundled model goes on with a text; then it recalls words that it read
# once, long before the question, with all of its KV cache and with a small part of it.
set -euo pipefail
winnow=${1:-build/winnow}
here=$(dirname "$0")/..
model=$here/weights/demo

echo '$ winnow generate -m weights/demo -p "It was a dark night, and the captain" -n 40 --echo'
"$winnow" generate -m "$model" -p "It was a dark night, and the captain" -n 40 --echo
echo

# Part of the README with a secret in it, and a question about it: $1 letters before, up to $2 after.
readme=$(<"$here/README.md")
prompt() {
  printf '%s\nThe secret name of the silver lantern is forests pollen abated reaching privately.\n' "${readme:0:$1}"
  printf '%s\nQuestion: What is the secret name of the silver lantern?\nAnswer:' "${readme:$1:$2}"
}
secret='(the README with a secret in it; a question about the secret) | winnow generate -m weights/demo'

printf '\n$ %s -n 16 --stop .\n' "$secret"
prompt 3000 100000 | "$winnow" generate -m "$model" -n 16 --stop .
printf '\n\n$ %s -n 16 --stop . --kv-policy sage --kv-budget 128\n' "$secret"
prompt 3000 100000 | "$winnow" generate -m "$model" -n 16 --stop . --kv-policy sage --kv-budget 128
printf '\n\n$ (the same, shorter) | winnow generate ... --kv-budget 64 --kv-show\n'
prompt 900 900 | "$winnow" generate -m "$model" -n 16 --stop . --kv-policy sage --kv-budget 64 --kv-show
echo
