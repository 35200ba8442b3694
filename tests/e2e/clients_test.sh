#!/usr/bin/env bash
# Runs a quick start of clients/ against the real server: it publishes, and decodes what an error says.
#   clients_test.sh POSTRIDER PROGRAM [ARGUMENT...]   the server's address is added as last argument
set -euo pipefail

fail() {
  echo "clients_test: $*" >&2
  exit 1
}

(($# >= 2)) || fail "usage: clients_test.sh POSTRIDER PROGRAM [ARGUMENT...]"
postrider=$1
shift
[[ -x $1 ]] || fail "there is no $1: tools/setup builds it"
# What the environment of the test says must not count.
unset "${!POSTRIDER_@}"

dir=$(mktemp -d)
server=
clean_up() {
  if [[ -n $server ]]; then
    kill "$server" 2>/dev/null || true
    wait "$server" || true
  fi
  rm -rf "$dir"
}
trap clean_up EXIT
mkfifo "$dir/out"
"$postrider" serve --data-dir "$dir/data" --listen 127.0.0.1:0 --http-listen 127.0.0.1:0 \
  >"$dir/out" 2>"$dir/log" &
server=$!
read -r -t 60 line <"$dir/out" || fail "the server is not ready: $(<"$dir/log")"
[[ $line =~ ^ready\ grpc=([^ ]+) ]] || fail "instead of its address the server says '$line'"

# Proxies are not for loopback.
unset http_proxy https_proxy grpc_proxy HTTP_PROXY HTTPS_PROXY
"$@" "${BASH_REMATCH[1]}" >"$dir/said" 2>&1 || fail "the quick start ends with $?: $(<"$dir/said")"
for line in 'published ntf_[0-9a-z]+' \
  '  field notification\.notification_type: must match .*' \
  '  reason NOTIFICATION_NOT_FOUND of postrider .*'; do
  grep -qxE "$line" "$dir/said" || fail "no line is '$line' in: $(<"$dir/said")"
done
echo "clients_test: $1 has published, and has decoded what was wrong"
