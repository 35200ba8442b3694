#!/usr/bin/env bash
# The version stands in CMakeLists.txt. The program and the changelog agree with it, and nothing
# else repeats it.
#   version_test.sh PROGRAM
set -euo pipefail

program=$1
cd "$(dirname "$0")/.."
fail() {
  echo "$*" >&2
  exit 1
}

version=$(sed -n 's/^project(postrider VERSION \([0-9.]*\) .*/\1/p' CMakeLists.txt)
[[ -n $version ]] || fail "CMakeLists.txt has no version"
[[ $("$program" --version) == "postrider $version" ]] || fail "the program is of another version"
newest=$(grep -m1 '^## ' CHANGELOG.md)
[[ $newest == "## [$version]"* ]] || fail "CHANGELOG.md begins with $newest, and not with $version"
# Not a part of a longer number, such as an address.
if grep -rnIP --exclude=CMakeLists.txt -e "(?<![0-9.])${version//./\\.}(?![0-9.])" \
  src proto docs tools README.md Dockerfile SECURITY.md; then
  fail "the version is repeated there: take it from CMakeLists.txt"
fi
