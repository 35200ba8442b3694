#!/usr/bin/env bash
# Holds docs/design.md's table of a publish's path to the sources: each function is there, and its
# body has what the table says leads to the next one.
#   path_test.sh [ROOT]      by default the tree that the script is in
#   path_test.sh --self-test checks that what is wrong is found
set -euo pipefail

readonly MAX_FILES=9

# body FILE FUNCTION: its definition, from its first line to the brace that ends it.
body() {
  awk -v name="$2(" '
    !inside && index($0, name) && $0 !~ /^[ \t]/ && $0 !~ /;$/ { inside = 1 }
    inside { print }
    inside && /^}/ { exit }
  ' "$1"
}

check() {
  local root=$1 failed=0 files=() hop thread place call file function text
  while IFS='|' read -r _ hop thread place call _; do
    file=$(sed 's/^ *//; s/:.*//' <<<"$place")
    function=$(sed 's/^[^:]*: //; s/ *$//' <<<"$place")
    call=$(sed 's/^ *`//; s/` *$//' <<<"$call")
    if [[ " ${files[*]-} " == *" $file "* ]]; then
      echo "$file stands in the path twice"
      failed=1
    fi
    files+=("$file")
    text=
    [[ ! -f $root/src/$file ]] || text=$(body "$root/src/$file" "$function")
    if [[ -z $text ]]; then
      echo "src/$file has no $function"
      failed=1
    elif ! grep -qF -- "$call" <<<"$text"; then
      echo "src/$file: $function has no $call"
      failed=1
    fi
  done < <(sed -n '/^## The path of a publish/,/^## /p' "$root/docs/design.md" |
    grep -E '^\|.*\.(cc|h): ')
  if ((${#files[@]} == 0 || ${#files[@]} > MAX_FILES)); then
    echo "the path has ${#files[@]} files, and may have $MAX_FILES"
    failed=1
  fi
  return $failed
}

self_test() {
  local failures=0 tree name what
  tree=$(mktemp -d)
  trap 'rm -rf "$tree"' RETURN
  # expect good|bad NAME
  expect() {
    local found=good
    (check "$tree") >/dev/null || found=bad
    [[ $found == "$1" ]] || { echo "$2 was found $found" && failures=$((failures + 1)); }
  }
  # table ROW...: the page with these rows.
  table() {
    mkdir -p "$tree/docs" "$tree/src/a"
    { echo '## The path of a publish' && printf '%s\n' "$@" && echo '## Next'; } >"$tree/docs/design.md"
  }
  printf 'void A::Go(int x) {\n  b_.Send(x);\n}\n\nvoid A::Stop() {\n  c_.Post();\n}\n' >"$tree/a.cc"
  table
  cp "$tree/a.cc" "$tree/src/a/a.cc"
  cp "$tree/a.cc" "$tree/src/a/b.cc"
  expect bad "a page without a table"
  table '| h | t | a/a.cc: A::Go | `b_.Send(` |' '| h | t | a/b.cc: A::Stop | `c_.Post(` |'
  expect good "a path that is there"
  table '| h | t | a/a.cc: A::Go | `c_.Post(` |'
  expect bad "a call of another function"
  table '| h | t | a/a.cc: A::Went | `b_.Send(` |'
  expect bad "a function that is not there"
  table '| h | t | a/c.cc: A::Go | `b_.Send(` |'
  expect bad "a file that is not there"
  table '| h | t | a/a.cc: A::Go | `b_.Send(` |' '| h | t | a/a.cc: A::Stop | `c_.Post(` |'
  expect bad "a file that stands there twice"
  local rows=()
  for name in 0 1 2 3 4 5 6 7 8 9; do
    cp "$tree/a.cc" "$tree/src/a/$name.cc"
    rows+=("| h | t | a/$name.cc: A::Go | \`b_.Send(\` |")
  done
  table "${rows[@]}"
  expect bad "a path of ten files"
  return $((failures > 0))
}

if [[ ${1:-} == --self-test ]]; then
  self_test
else
  check "${1:-$(cd "$(dirname "$0")/.." && pwd)}"
fi
