#!/bin/bash
# What `make run` shows: the bundled model goes on with a text; then it recalls words that it read
# once, long before the question, with all of its KV cache and with a small part of it. Fails where an
# answer lacks them.
set -euo pipefail
winnow=${1:-build/winnow}
here=$(dirname "$0")/..
model=$here/weights/demo
book=$here/weights/demo/frankenstein.txt
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
words='forests pollen abated reaching privately'

echo '$ winnow generate -m weights/demo -p "It was a dark night, and the captain" -n 40 --echo'
"$winnow" generate -m "$model" -p "It was a dark night, and the captain" -n 40 --echo
echo

# A book with a secret in it, and a question about it: $1 bytes of the book before, $2 after.
prompt() {
  head -c "$1" "$book"
  printf '\nThe secret name of the silver lantern is %s.\n' "$words"
  head -c $(($1 + $2)) "$book" | tail -c "$2"
  printf '\nQuestion: What is the secret name of the silver lantern?\nAnswer:'
}

# Asks about the text on stdin, with the options given.
ask() {
  "$winnow" generate -m "$model" -n 16 --stop . "$@" | tee "$answer"
  echo
  if ! grep -qF "$words" "$answer"; then
    echo "run_demo.sh: the words were not recalled" >&2
    exit 1
  fi
}

secret='(30,000 letters of a book, a secret in them; a question) | winnow generate -m weights/demo'
printf '\n$ %s -n 16 --stop .\n' "$secret"
prompt 12000 18000 | ask
printf '\n\n$ %s -n 16 --stop . --kv-policy sage --kv-budget 128\n' "$secret"
prompt 12000 18000 | ask --kv-policy sage --kv-budget 128
printf '\n\n$ (the same, shorter) | winnow generate ... --kv-budget 96 --kv-show\n'
prompt 900 900 | ask --kv-policy sage --kv-budget 96 --kv-show
