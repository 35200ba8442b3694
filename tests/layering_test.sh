#!/usr/bin/env bash
# Holds the includes of src/ to the layers of docs/design.md, and its files to a length.
#   layering_test.sh [ROOT]      checks the tree, by default the one that the script is in
#   layering_test.sh --self-test checks that each kind of violation is found
set -euo pipefail

readonly MAX_LINES=500

# A pattern of our own files, and of those that they may include; the first line that fits a file
# counts. Paths are below src/; SELF stands for the folder that the file is in.
readonly LAYERS='
^base/               ^base/
^message/            ^(base/|message/|outbox/types\.h$|http/transport\.h$)
^outbox/[^/]+$       ^(base/|outbox/[^/]+$)
^outbox/             ^(base/|outbox/[^/]+$|SELF)
^http/server/        ^(base|http/server)/
^http/transport\.h$  ^base/
^http/               ^(base/|http/[^/]+$)
^delivery/           ^(base/|delivery/|message/|outbox/(outbox|types)\.h$|http/transport\.h$)
^server/observe/     ^(base|server/observe)/
^server/config/      ^(base/|http/server/http_server\.h$|server/config/)
^server/api/         ^(base/|message/|delivery/hold\.h$|outbox/(outbox|types)\.h$|http/transport\.h$|server/api/)
^server/rpc/         ^(base|server/(api|config|observe|rpc))/
^server/web/         ^(base|http/server|server/(api|config|observe|web))/
^server/app/main\.cc$ ^(cli/(commands|suggestion)\.h$|server/(app|config)/)
^server/app/         ^(base/|delivery/(dispatcher|engine|hold)\.h$|http/(address_policy|curl_transport|event_loop|resolver|shared_transport|transport)\.h$|http/server/|outbox/(outbox|types|sqlite/sqlite_outbox|sqlite/options)\.h$|server/)
^cli/                ^(base|message|http/server|cli)/
'

# A pattern of headers, and of the files of ours that may include them. Of those that are not ours,
# the generated code of the protos among them, and of ours that are private to a few files.
readonly OWNERS='
^sqlite3                        ^outbox/sqlite/
^curl/                          ^http/[^/]+$
^ares                           ^http/[^/]+$
^(grpc|grpcpp)/                 ^(server/rpc|cli)/
\.grpc\.pb\.h$                  ^(server/rpc|cli)/
^(google|postrider)/            ^(server/(api|rpc)|cli)/
^boost/                         ^http/server/
^httplib                        ^$
^CLI/                           ^(server/config/|server/app/main\.cc$|cli/)
^prometheus/                    ^server/observe/
^spdlog/                        ^server/observe/
^openssl/                       ^(message|http|server/rpc|cli)/
^rapidjson/                     ^(message|server/(api|observe))/
^(thread|mutex|shared_mutex|condition_variable|future|semaphore|latch|barrier|stop_token|pthread\.h|poll\.h|netdb\.h)$ ^(base|outbox/sqlite|http|server/(config|observe|rpc|web|app)|cli)/
^sys/                           ^(base|outbox/sqlite|http|server/(config|observe|rpc|web|app)|cli)/
^src/delivery/engine_impl\.h$   ^delivery/engine[^/]*\.cc$
^src/http/(curl_handle|curl_multi)\.h$ ^http/curl_
'

# check ROOT: prints each violation; fails if there is one.
check() {
  local files
  cd "$1/src"
  files=$(find . -type f \( -name '*.h' -o -name '*.cc' \) | sed 's|^\./||' | sort)
  [[ -n $files ]] || { echo "there are no sources in $1/src" && return 1; }
  # shellcheck disable=SC2086  # No path of ours has a space.
  awk -v layers="$LAYERS" -v owners="$OWNERS" -v max_lines="$MAX_LINES" '
    function complain(what) { print "src/" FILENAME ":" FNR ": " what; failed = 1 }

    function read_table(text, left, right,    lines, n, i, count, words) {
      n = split(text, lines, "\n")
      for (i = 1; i <= n; ++i) {
        if (split(lines[i], words, " ") != 2) continue
        left[++count] = words[1]
        right[count] = words[2]
      }
      return count
    }

    function exists(path,    line, found) {
      found = (getline line < path) >= 0
      close(path)
      return found
    }

    function check_ours(header,    i, allowed, self) {
      for (i = 1; i <= layer_count && FILENAME !~ layer[i]; ++i) {}
      if (i > layer_count) {
        complain("the folder is in no layer: give it a line in tests/layering_test.sh")
        return
      }
      self = FILENAME
      sub(/[^\/]*$/, "", self)
      allowed = may_include[i]
      sub(/SELF/, self, allowed)
      if (header !~ allowed) complain("may not include src/" header)
    }

    function check_owner(header,    i) {
      for (i = 1; i <= owner_count; ++i) {
        if (header ~ theirs[i] && FILENAME !~ owner[i]) complain("may not include " header)
      }
    }

    BEGIN {
      layer_count = read_table(layers, layer, may_include)
      owner_count = read_table(owners, theirs, owner)
    }
    FNR == max_lines + 1 { complain("the file is longer than " max_lines " lines") }
    match($0, /^[ \t]*#[ \t]*include[ \t]*["<][^">]+/) {
      header = substr($0, RSTART, RLENGTH)
      sub(/^[^"<]*["<]/, "", header)
      folder = FILENAME
      sub(/[^\/]*$/, "", folder)
      check_owner(header)
      if (header ~ /^src\//) {
        check_ours(substr(header, 5))
      } else if (header ~ /^\.\.?\// || exists(folder header)) {
        complain("includes " header " by a relative path: begin it with src/")
      }
    }
    END { exit failed }
  ' $files
}

# Each case is a file, an include, and whether it may be there.
self_test() {
  local failures=0 case file include verdict found
  tree=$(mktemp -d)
  trap 'rm -rf "$tree"' EXIT
  while read -r verdict file include; do
    [[ -n $verdict ]] || continue
    rm -rf "$tree/src"
    mkdir -p "$(dirname "$tree/src/$file")" "$tree/src/base"
    echo '// sqlite3.h, as in #include <sqlite3.h>' >"$tree/src/base/clock.h"
    printf '#pragma once\n#include %s\n' "$include" >"$tree/src/$file"
    found=good
    (check "$tree") >"$tree/output" || found=bad
    if [[ $found != "$verdict" ]]; then
      echo "src/$file with #include $include was found $found"
      failures=$((failures + 1))
    elif [[ $found == bad ]] && ! grep -q "^src/$file:2: " "$tree/output"; then
      echo "src/$file with #include $include is not named: $(<"$tree/output")"
      failures=$((failures + 1))
    fi
  done <<'END'
bad  base/ids.h                          "src/outbox/types.h"
bad  base/ids.h                          "src/server/config/config.h"
bad  base/ids.h                          <sqlite3.h>
bad  base/ids.h                          <curl/curl.h>
bad  base/ids.h                          <grpcpp/grpcpp.h>
bad  base/ids.h                          "clock.h"
bad  base/ids.h                          "../base/clock.h"
bad  message/json.cc                     "src/delivery/engine.h"
bad  message/signing.cc                  "src/delivery/engine.h"
bad  message/request.cc                  "src/outbox/outbox.h"
bad  message/request.cc                  "src/server/api/errors.h"
bad  message/json.cc                     <sys/epoll.h>
bad  message/json.cc                     <thread>
bad  message/request.cc                  "postrider/v1/webhook_service.pb.h"
bad  outbox/outbox.h                     "src/http/transport.h"
bad  outbox/outbox.h                     "src/outbox/sqlite/schema.h"
bad  outbox/outbox.h                     <sqlite3.h>
bad  outbox/outbox.h                     "postrider/v1/webhook_service.pb.h"
bad  outbox/sqlite/writer.cc             "src/http/transport.h"
bad  outbox/sqlite/writer.cc             "src/delivery/engine.h"
bad  outbox/sqlite/writer.cc             <grpcpp/grpcpp.h>
bad  outbox/postgres/pg.cc               "src/outbox/sqlite/schema.h"
bad  outbox/postgres/pg.cc               <sqlite3.h>
bad  http/transport.h                    "src/outbox/types.h"
bad  http/transport.h                    "src/http/curl_handle.h"
bad  http/resolver.cc                    "src/http/curl_handle.h"
bad  http/resolver.cc                    "src/delivery/engine.h"
bad  http/resolver.cc                    <google/protobuf/message.h>
bad  http/resolver.cc                    "src/http/server/http_server.h"
bad  http/resolver.cc                    <boost/asio.hpp>
bad  http/event_loop.cc                  <rapidjson/writer.h>
bad  http/server/page.cc                 "src/http/transport.h"
bad  http/server/page.cc                 "src/server/observe/logging.h"
bad  http/server/page.cc                 <curl/curl.h>
bad  delivery/engine.cc                  "src/http/server/http_server.h"
bad  delivery/engine.cc                  "src/http/event_loop.h"
bad  delivery/engine.cc                  "src/outbox/sqlite/sqlite_outbox.h"
bad  delivery/engine.cc                  "src/http/curl_transport.h"
bad  delivery/engine.cc                  "src/server/observe/logging.h"
bad  delivery/engine.cc                  "postrider/v1/delivery_service.pb.h"
bad  delivery/engine.cc                  <ares.h>
bad  delivery/engine.cc                  <curl/multi.h>
bad  delivery/engine.cc                  <prometheus/counter.h>
bad  delivery/engine.cc                  <spdlog/spdlog.h>
bad  delivery/engine.cc                  <httplib.h>
bad  delivery/engine.cc                  <CLI/CLI.hpp>
bad  delivery/engine.cc                  <thread>
bad  delivery/engine.cc                  <mutex>
bad  delivery/engine.cc                  <sys/epoll.h>
bad  delivery/engine.cc                  <openssl/evp.h>
bad  delivery/engine.cc                  <rapidjson/writer.h>
bad  delivery/pager.cc                   "src/delivery/engine_impl.h"
bad  server/api/paging.cc                "src/server/app/pump.h"
bad  server/api/paging.cc                "src/server/app/app.h"
bad  server/api/paging.cc                <httplib.h>
bad  server/api/paging.cc                <thread>
bad  server/api/paging.cc                "src/server/observe/logging.h"
bad  server/api/notification_handlers.cc "src/server/rpc/rpc_server.h"
bad  server/api/notification_handlers.h  <grpcpp/grpcpp.h>
bad  server/api/notification_handlers.cc <grpc/grpc.h>
bad  server/api/notification_handlers.cc "postrider/v1/notification_service.grpc.pb.h"
bad  server/api/webhook_handlers.cc      "src/delivery/engine_impl.h"
bad  server/api/webhook_handlers.cc      "src/delivery/engine.h"
bad  server/api/webhook_handlers.cc      "src/server/rpc/rpc_services.h"
bad  server/config/config.cc             "src/server/app/app.h"
bad  server/config/config.cc             "src/server/observe/logging.h"
bad  server/observe/logging.cc           "src/server/api/errors.h"
bad  server/observe/logging.cc           <grpcpp/grpcpp.h>
bad  server/rpc/rpc_server.cc            "src/server/app/app.h"
bad  server/rpc/rpc_server.cc            "src/server/web/admin_http.h"
bad  server/rpc/rpc_server.cc            "src/outbox/outbox.h"
bad  server/rpc/rpc_server.cc            <spdlog/spdlog.h>
bad  server/web/admin_http.cc            "src/server/rpc/rpc_server.h"
bad  server/web/admin_http.cc            <boost/beast.hpp>
bad  server/web/admin_http.cc            <grpcpp/grpcpp.h>
bad  server/app/serve.cc                 "src/cli/commands.h"
bad  server/app/serve.cc                 <sqlite3.h>
bad  server/app/app.cc                   "src/cli/commands.h"
bad  server/app/app.cc                   "src/http/curl_handle.h"
bad  server/app/app.cc                   "src/outbox/sqlite/writer.h"
bad  server/app/app.cc                   "src/delivery/engine_impl.h"
bad  server/app/app.cc                   <curl/curl.h>
bad  server/app/main.cc                  "src/http/curl_transport.h"
bad  server/main.cc                      "src/base/clock.h"
bad  cli/client.cc                       "src/server/config/config.h"
bad  cli/client.cc                       "src/outbox/types.h"
bad  cli/client.cc                       "src/http/transport.h"
bad  cli/client.cc                       "src/delivery/engine.h"
bad  cli/client.cc                       "src/delivery/engine_impl.h"
bad  cli/client.cc                       <prometheus/counter.h>
bad  console/page.cc                     "src/base/clock.h"
good base/ids.h                          "src/base/clock.h"
good message/request.cc                  "src/outbox/types.h"
good message/signing.cc                  <openssl/evp.h>
good outbox/sqlite/writer.cc             <sqlite3.h>
good outbox/postgres/pg.cc               "src/outbox/postgres/schema.h"
good http/resolver.cc                    <ares.h>
good http/resolver.cc                    "src/http/transport.h"
good http/curl_transport.cc              "src/http/curl_handle.h"
good http/server/page.cc                 <boost/asio.hpp>
good delivery/engine.cc                  "src/http/transport.h"
good delivery/engine.cc                  "src/message/request.h"
good delivery/engine_hold.cc             "src/delivery/engine_impl.h"
good server/api/webhook_handlers.cc      "src/message/signing.h"
good server/api/webhook_handlers.cc      "postrider/v1/webhook_service.pb.h"
good server/rpc/rpc_server.cc            <grpcpp/grpcpp.h>
good server/rpc/rpc_server.cc            <thread>
good server/rpc/rpc_services.cc          "src/server/api/webhook_handlers.h"
good server/web/admin_http.cc            "src/http/server/http_server.h"
good server/app/app.cc                   "src/outbox/sqlite/sqlite_outbox.h"
good server/app/main.cc                  "src/cli/commands.h"
good cli/receiver.cc                     "src/http/server/http_server.h"
good cli/client.cc                       "src/message/signing.h"
good cli/client.cc                       "postrider/v1/webhook_service.grpc.pb.h"
END

  rm -rf "$tree/src"
  mkdir -p "$tree/src/base"
  for lines in "$MAX_LINES" $((MAX_LINES + 1)); do
    seq "$lines" >"$tree/src/base/long.cc"
    found=good
    (check "$tree") >/dev/null || found=bad
    verdict=$( ((lines > MAX_LINES)) && echo bad || echo good)
    if [[ $found != "$verdict" ]]; then
      echo "a file of $lines lines was found $found"
      failures=$((failures + 1))
    fi
  done
  rm -rf "$tree/src" && mkdir "$tree/src"
  if (check "$tree") >/dev/null; then
    echo "an empty tree was found good"
    failures=$((failures + 1))
  fi
  return $((failures > 0))
}

if [[ ${1:-} == --self-test ]]; then
  self_test
else
  check "${1:-$(cd "$(dirname "$0")/.." && pwd)}"
fi
