#!/bin/bash
# Writes winnow's manual page, or what completes its command line in a shell, out of its own --help:
# they say what the binary says.
#
#   tools/help_pages.sh man|bash|zsh WINNOW
set -euo pipefail

kind=${1:-}
winnow=${2:-}
if [[ ! $kind =~ ^(man|bash|zsh)$ || -z $winnow ]]; then
  echo "usage: $0 man|bash|zsh WINNOW" >&2
  exit 2
fi

root=$("$winnow" --help)
commands=$(awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on && /^  [a-z]/ { print $1 }' \
  <<<"$root")
{
  printf '= winnow\n%s\n' "$root"
  for command in $commands; do
    printf '= %s\n' "$command"
    "$winnow" "$command" --help
  done
} | awk -v kind="$kind" -v version="$("$winnow" --version | sed -n '1s/,.*//p')" \
  -f "$(dirname "$0")/help_pages.awk"
