#!/usr/bin/env bash
# Makes a backup and restores it with the commands of docs/operations.md, word for word, for each
# layout that stands there: a directory, and a symbolic link to one as systemd makes it for
# DynamicUser. As root the server runs as somebody else, as it does there. And starts it with the
# command that stands there when its log was taken away.
#   backup_test.sh OPERATIONS_MD POSTRIDER
#
# Only where things lie is different: /var/backups is a directory of the test's, and `systemctl`
# starts and stops a server of its own.
set -euo pipefail

operations=$(realpath "$1")
postrider=$(realpath "$2")
# What the environment of the test says must not count.
for name in "${!POSTRIDER_@}"; do unset "$name"; done

fail() {
  echo "backup_test: $*" >&2
  exit 1
}

work=$(mktemp -d)
server=
stop_server() {
  [[ -n $server ]] || return 0
  kill "$server" 2>/dev/null || true
  wait "$server" || true
  server=
}
trap 'stop_server; rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"

# block NAME: the commands of a fenced block.
block() {
  awk -v fence="\`\`\`sh $1" '$0 == fence { inside = 1; next } /^```/ { inside = 0 } inside' \
    "$operations" | sed "s|/var/backups|$work/backups|g" >"$1.sh"
  [[ -s $1.sh ]] || fail "$operations has no block that is fenced as \`\`\`sh $1"
}
block backup
block restore
block empty-log

as_other=()
if (($(id -u) == 0)); then as_other=(setpriv --reuid 65534 --regid 65534 --clear-groups); fi

start_server() {
  # Else the line of the server before would be taken for its own.
  rm -f server.out
  "${as_other[@]}" "$postrider" serve --data-dir "$data" --listen 127.0.0.1:0 \
    --http-listen 127.0.0.1:0 --min-free-bytes 0 </dev/null >server.out 2>server.err &
  server=$!
  local deadline=$((SECONDS + 120))
  until grep -qs '^ready ' server.out; do
    kill -0 "$server" 2>/dev/null || fail "the server does not start: $(<server.err)"
    ((SECONDS < deadline)) || fail "the server is not ready in time"
    sleep 0.05
  done
  address=$(sed -n 's/^ready grpc=\([^ ]*\).*/\1/p' server.out)
}

systemctl() {
  [[ $2 == postrider ]] || fail "systemctl $*"
  case $1 in
    start) start_server ;;
    stop) stop_server ;;
    *) fail "systemctl $*" ;;
  esac
}

# publish KEY: prints the notification's id, the same again for a key that is known.
publish() {
  "$postrider" publish --server "$address" --type BACKUP --json-payload '{}' --idempotency-key "$1"
}

# owned_by_other DIRECTORY
owned_by_other() {
  if ((${#as_other[@]})); then chown 65534:65534 "$1"; fi
}

test_layout() {
  local layout=$1 before after
  rm -rf backups lib && mkdir backups lib
  data=$work/lib/postrider
  if [[ $layout == link ]]; then
    mkdir -m 755 lib/private && mkdir -m 700 lib/private/postrider
    owned_by_other lib/private/postrider
    ln -s private/postrider "$data"
  else
    mkdir -m 700 "$data"
    owned_by_other "$data"
  fi

  systemctl start postrider
  before=$(publish before)
  . ./backup.sh
  [[ -s backups/postrider-2026-11-28/outbox.db ]] || fail "$layout: the backup has no database"
  [[ $(publish before) == "$before" ]] || fail "$layout: the backup has lost a notification"
  after=$(publish after)
  . ./restore.sh
  [[ $(publish before) == "$before" ]] || fail "$layout: what was in the backup is not restored"
  [[ $(publish after) != "$after" ]] || fail "$layout: what is restored is not the backup"
  test_lost_log
  systemctl stop postrider
}

# The server is killed, and something takes its log away, as sqlite3 does when it has copied it.
test_lost_log() {
  local code=0
  kill -KILL "$server"
  wait "$server" || true
  rm "$data/outbox.db-wal"
  (start_server) >refused.out 2>&1 || code=$?
  ((code != 0)) || fail "$layout: the server starts without its log"
  grep -q 'outbox.db-wal as the user' refused.out || fail "$layout: $(<refused.out)"
  . ./empty-log.sh
  start_server
}

test_layout directory
test_layout link
