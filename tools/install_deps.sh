#!/bin/bash
# Installs what winnow is built or checked with, on Debian and Ubuntu; elsewhere names what is missing.
# Does nothing where all is there.
#
#   tools/install_deps.sh build|test|format|lint|fuzz
set -euo pipefail

# What must be there, and the Debian package that brings it: headers, programs, NAME.py for a Python
# module.
case ${1:-} in
  build) needed="g++:g++
    sentencepiece_processor.h:libsentencepiece-dev
    doctest/doctest.h:doctest-dev
    nlohmann/json.hpp:nlohmann-json3-dev
    CLI/CLI.hpp:libcli11-dev
    pcre2.h:libpcre2-dev
    utf8proc.h:libutf8proc-dev
    histedit.h:libedit-dev" ;;
  test) needed="numpy.py:python3-numpy" ;;
  format) needed="clang-format-14:clang-format-14" ;;
  lint) needed="clang-tidy-14:clang-tidy-14 omp.h:libomp-14-dev" ;;
  fuzz) needed="clang++-14:clang-14 fuzzer/FuzzedDataProvider.h:libclang-rt-14-dev" ;;
  *)
    echo "usage: $0 build|test|format|lint|fuzz" >&2
    exit 2
    ;;
esac

is_there() {
  if [[ $1 == *.h || $1 == *.hpp ]]; then
    [[ -n $(find /usr/include /usr/local/include /usr/lib/llvm-14 -path "*/$1" -print -quit \
      2>/dev/null) ]]
  elif [[ $1 == *.py ]]; then
    python3 -c "import ${1%.py}" 2>/dev/null || /usr/bin/python3 -c "import ${1%.py}" 2>/dev/null
  else
    command -v "$1" >/dev/null
  fi
}

missing=()
for entry in $needed; do
  is_there "${entry%%:*}" || missing+=("${entry##*:}")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "winnow needs ${missing[*]} (Debian's names): install them, then run make again" >&2
  exit 1
fi
as_root=()
if [[ $(id -u) -ne 0 ]]; then
  if ! command -v sudo >/dev/null; then
    echo "winnow needs ${missing[*]}: run 'apt-get install ${missing[*]}' as root" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "installing ${missing[*]}" >&2
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
