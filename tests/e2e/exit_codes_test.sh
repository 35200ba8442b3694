#!/usr/bin/env bash
# Holds the exit codes of docs/operations.md and those of --help together, word for word.
#   exit_codes_test.sh OPERATIONS POSTRIDER
set -euo pipefail

fail() {
  echo "exit_codes_test: $*" >&2
  exit 1
}

# The nth table of exit codes in the page, as "CODE TEXT" lines.
of_page() {
  awk -F ' *[|] *' -v n="$1" '
    /^[|] exit code [|]/ { ++table }
    table == n && $2 ~ /^[0-9]+$/ { print $2, $3; seen = 1; next }
    table == n && seen { exit }
  ' "$page"
}

# What the help says, with what is broken over lines put together.
of_help() {
  "$postrider" "$@" --help | awk '
    /^Exit codes:/ { inside = 1; next }
    inside && match($0, /^  [0-9]+ +/) {
      if (line != "") print line
      split($0, words, " ")
      line = words[1] " " substr($0, RLENGTH + 1)
      next
    }
    inside && /^      / { sub(/^ +/, " "); line = line $0; next }
    inside { exit }
    END { if (line != "") print line }
  '
}

[[ $# -eq 2 ]] || fail "usage: exit_codes_test.sh OPERATIONS POSTRIDER"
page=$1
postrider=$2
[[ -n $(of_page 1) && -n $(of_page 2) ]] || fail "$page has no two tables of exit codes"
diff <(of_page 1) <(of_help) || fail "the server's exit codes differ: < $page, > --help"
for command in publish configure validate webhooks deliveries listen; do
  diff <(of_page 2) <(of_help "$command") || fail "the exit codes of $command differ: < $page, > --help"
done
echo "exit_codes_test: the page and the help agree"
