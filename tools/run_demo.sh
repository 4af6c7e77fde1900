#!/bin/bash
# What `make run` shows: the bundled model goes on with a text; then it recalls words that it read
# once, before the whole of the README.
set -euo pipefail
winnow=${1:-build/winnow}
here=$(dirname "$0")/..
model=$here/weights/demo

echo '$ winnow generate -m weights/demo -p "It was a dark night, and the captain" -n 40 --echo'
"$winnow" generate -m "$model" -p "It was a dark night, and the captain" -n 40 --echo
echo
echo
echo '$ (a secret; the README; a question about the secret) | winnow generate -m weights/demo --stop .'
{
  echo "The secret name of the silver lantern is river garden stone."
  cat "$here/README.md"
  printf '\nQuestion: What is the secret name of the silver lantern?\nAnswer:'
} | "$winnow" generate -m "$model" -n 12 --stop .
echo
