#!/usr/bin/env bash
# Runs the commands of README.md word for word against the real server, with the real grpcurl.
#   readme_test.sh README POSTRIDER GRPCURL
#   readme_test.sh --self-test POSTRIDER GRPCURL   checks that what is wrong in a README is found
#
# A block that is fenced as ```sh test is run; all of them share one shell, in an empty directory.
# A block ```text output behind it holds what it must print: `...` stands for anything, over line
# ends too. A command may fail only where that output begins with `ERROR:`. A block ```sh is not run,
# but for the first `postrider serve` and the first `postrider listen` that stand alone in one: they
# are started first, and run until the end.
#
# Only the ports are others: server and receiver pick free ones, and 127.0.0.1:7411 and :8080, where
# the README has them, are replaced by these, in commands and outputs alike. So this runs anywhere,
# and beside other tests.
set -euo pipefail

fail() {
  echo "readme_test: $*" >&2
  exit 1
}

# Waits until the file has a line that begins with the text, and prints the rest of that line.
await_line() {
  local file=$1 prefix=$2 deadline=$((SECONDS + 60)) line
  while ((SECONDS < deadline)); do
    while IFS= read -r line; do
      [[ $line == "$prefix"* ]] && echo "${line#"$prefix"}" && return
    done <"$file"
    sleep 0.05
  done
  fail "$file has no line that begins with '$prefix'"
}

# Splits the README into block.N (commands), want.N (their output), and `programs`.
extract() {
  awk '
    /^```/ {
      if (inside) { inside = 0; close(file); next }
      inside = 1
      file = ""
      if ($0 == "```sh test") { file = "block." ++n; printf "" >file; want = 1 }
      else if ($0 == "```text output") {
        if (!want) { print "an output without its commands, in line " NR; bad = 1; exit }
        file = "want." n; printf "" >file; want = 0
      }
      else if ($0 == "```sh") { file = "programs"; want = 0 }
      else if ($0 == "```python") { file = "receiver.py"; want = 0 }
      else want = 0
      next
    }
    inside && file != "" { print >>file }
    END { if (inside) { print "a block has no end"; bad = 1 } exit bad }
  ' "$1" >complaint || fail "$1: $(cat complaint)"
  [[ -f block.1 ]] || fail "$1 has no block that is fenced as \`\`\`sh test"
}

# The first line of `programs` that begins with these words.
program() {
  local line
  line=$(grep -m 1 -E "^$1( |\$)" programs) || fail "no block has a line that begins with '$1'"
  echo "$line"
}

# True when all of the text is as `want` has it.
matches() {
  local text=$1 want=$2 part
  part=${want%%...*}
  [[ $text == "$part"* ]] || return 1
  text=${text#"$part"}
  while [[ $want == *...* ]]; do
    want=${want#*...}
    part=${want%%...*}
    if [[ $want != *...* ]]; then
      [[ $text == *"$part" ]]
      return
    fi
    [[ $text == *"$part"* ]] || return 1
    text=${text#*"$part"}
  done
  [[ -z $text ]]
}

# Runs the blocks in one shell. What a block prints goes to got.N and err.N, and each of its commands
# that fails to failed.N.
run_blocks() {
  {
    echo 'set -E'
    echo 'trap '\''echo "$BASH_COMMAND" >>"failed.$block"'\'' ERR'
    for ((block = 1; block <= blocks; ++block)); do
      echo "block=$block; . ./block.$block >got.$block 2>err.$block"
    done
  } >session
  bash session </dev/null >session.out 2>&1 || true
}

check_block() {
  local block=$1 got='' want=''
  got=$(<"got.$block")
  if [[ -f want.$block ]]; then
    want=$(<"want.$block")
    matches "$got" "$want" || fail "block $block:
$(<"block.$block")
prints
$got
$(<"err.$block")
and not
$want"
  fi
  if [[ -f failed.$block && $want != ERROR:* ]]; then
    fail "in block $block this fails: $(<"failed.$block")
$got
$(<"err.$block")"
  fi
}

# The receiver in Python takes what is signed, whatever the case of the names, and nothing else.
check_python() {
  cat >>receiver.py <<'END'


def check():
    import secrets

    key = secrets.token_bytes(24)
    secret = "whsec_" + base64.b64encode(key).decode()
    now = str(int(time.time()))
    signed = hmac.new(key, b"ntf_1." + now.encode() + b".{}", hashlib.sha256).digest()
    signature = "v1,AAAA v1," + base64.b64encode(signed).decode()
    for names in (
        ("webhook-id", "webhook-timestamp", "webhook-signature"),
        ("Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"),
        ("WEBHOOK-ID", "WEBHOOK-TIMESTAMP", "WEBHOOK-SIGNATURE"),
    ):
        headers = dict(zip(names, ("ntf_1", now, signature)))
        assert verify(secret, headers, b"{}"), names
        assert not verify(secret, headers, b"{ }"), names
    assert not verify(secret, {}, b"{}")
    headers["WEBHOOK-TIMESTAMP"] = "1"
    assert not verify(secret, headers, b"{}")


check()
END
  python3 receiver.py || fail "the receiver in Python does not verify what is signed"
}

# Everything that was started, and what it has started in turn.
stop_programs() {
  local pid
  for pid in $(jobs -p); do kill "$pid" 2>/dev/null || true; done
  wait
}

test_readme() {
  local readme=$1 postrider=$2 grpcurl=$3 blocks block file server receiver
  [[ -x $postrider ]] || fail "there is no postrider at '$postrider'"
  [[ -x $grpcurl ]] || fail "there is no grpcurl at '$grpcurl': tools/setup installs it"
  extract "$readme"
  blocks=$(find . -name 'block.*' | wc -l)

  # What the environment of the test says must not count.
  for block in "${!POSTRIDER_@}"; do unset "$block"; done
  mkdir bin
  ln -s "$postrider" bin/postrider
  ln -s "$grpcurl" bin/grpcurl
  export PATH=$PWD/bin:$PATH
  server=$(program 'postrider serve')
  receiver=$(program 'postrider listen')
  POSTRIDER_LISTEN=127.0.0.1:0 POSTRIDER_HTTP_LISTEN=127.0.0.1:0 \
    bash -c "exec $server" </dev/null >server.out 2>server.err &
  bash -c "exec $receiver --listen 127.0.0.1:0" </dev/null >receiver.out 2>receiver.err &
  trap stop_programs EXIT
  server=$(await_line server.out 'ready grpc=') || exit 1
  receiver=$(await_line receiver.out 'listening http://') || exit 1
  export POSTRIDER_SERVER=${server%% *}
  for file in block.* want.*; do
    sed -i "s/127\.0\.0\.1:7411/$POSTRIDER_SERVER/g; s/127\.0\.0\.1:8080/$receiver/g" "$file"
  done

  run_blocks
  for ((block = 1; block <= blocks; ++block)); do check_block "$block"; done
  [[ ! -f receiver.py ]] || check_python
  echo "readme_test: $blocks blocks of $readme do what it says"
}

# Runs the test of one README in a directory of its own.
in_scratch() (
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  cd "$scratch"
  (test_readme "$@")
)

# A README whose only test block has these lines, and this output.
write_readme() {
  printf '```sh\npostrider serve --data-dir data --allow-network 127.0.0.0/8\n```\n'
  printf '```sh\npostrider listen\n```\n'
  printf '```sh test\n%s\n```\n' "$1"
  printf '\nIt prints:\n\n```text output\n%s\n```\n' "$2"
}

self_test() {
  local readme
  readme=$(mktemp)
  # shellcheck disable=SC2064 # It is to be expanded now.
  trap "rm -f '$readme'" EXIT
  expect() {
    local verdict=$1 why=$2
    shift 2
    local found=good
    # A process of its own: in a condition, `set -e` does not count.
    "$0" "$readme" "$@" >/dev/null 2>&1 || found=bad
    [[ $found == "$verdict" ]] || fail "self-test: $why is found $found"
  }
  write_readme 'postrider deliveries' '' >"$readme"
  expect good 'a command that prints nothing' "$@"
  write_readme 'grpcurl -plaintext 127.0.0.1:7411 list
echo 127.0.0.1:8080' 'grpc.health...Health
...
postrider.v1.WebhookService
127.0.0.1:...' >"$readme"
  expect good 'an output with gaps' "$@"
  write_readme 'printf "a\nb\nc\n"' 'a
c' >"$readme"
  expect bad 'an output with a line too many' "$@"
  write_readme 'echo abc' 'a...d' >"$readme"
  expect bad 'an output with another end' "$@"
  write_readme 'echo a; false; echo b' '...' >"$readme"
  expect bad 'a command that fails' "$@"
  write_readme 'no-such-command || true
no-such-command' '' >"$readme"
  expect bad 'a command that is not there' "$@"
  write_readme 'echo ERROR: x; false' 'ERROR: x' >"$readme"
  expect good 'an error that is announced' "$@"
  write_readme 'true' '' | sed 's/sh test/sh/' >"$readme"
  expect bad 'a README without a block to run' "$@"
  write_readme 'true' '' >"$readme"
  expect bad 'a missing grpcurl' "$1" /no/such/grpcurl
  echo 'readme_test: the self-test passes'
}

if [[ ${1-} == --self-test ]]; then
  [[ $# -eq 3 ]] || fail "usage: readme_test.sh --self-test POSTRIDER GRPCURL"
  self_test "$2" "$3"
else
  [[ $# -eq 3 ]] || fail "usage: readme_test.sh README POSTRIDER GRPCURL"
  in_scratch "$@"
fi
