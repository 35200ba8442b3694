#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace postrider {

// A request as it came over the wire.
struct SinkRequest {
  std::string method;
  std::string target;
  // In the order and spelling of the wire.
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  // On which connection it came; they are counted from 0.
  int connection = 0;
  absl::Time time;

  // Of the first header of that name, in whatever case.
  std::optional<std::string> Header(std::string_view name) const;
};

// What a request gets.
struct SinkAnswer {
  enum class Way {
    kAnswer,
    // Never answers, and keeps the connection open.
    kHang,
    // Closes the connection without an answer.
    kDrop,
    // Sends `body` as it is instead of an HTTP answer, then closes.
    kRaw,
    // Answers as if the connection were to be kept, but closes it when the next request arrives,
    // which is neither read nor recorded: a connection that has gone stale.
    kCloseSilently,
    // Sends the headers and then `body` (or something) over and over, until the client has enough.
    kEndless,
  };

  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  // How long the request waits for what it gets.
  absl::Duration delay;
  // Closes the connection after the answer, which announces that.
  bool close = false;
  Way way = Way::kAnswer;
};

// An HTTP/1.1 server whose answers a test writes, good and bad ones. It speaks over raw sockets, so
// that it can misbehave, on one thread for all connections. Bodies of requests have a
// Content-Length.
//
// Thread-safe.
class HttpSink {
 public:
  // Called on the sink's thread, one at a time, after the request was recorded. While it runs,
  // nobody else is served; to let one request wait, use `delay`.
  using Script = std::function<SinkAnswer(const SinkRequest&)>;

  // Listens on a port of its own choice. Without a script, all are answered with 200. The address
  // must be one of this machine's, without brackets.
  explicit HttpSink(Script script = {}, const std::string& address = "127.0.0.1");
  // Stops; open connections are closed.
  ~HttpSink();
  HttpSink(const HttpSink&) = delete;
  HttpSink& operator=(const HttpSink&) = delete;

  int port() const;
  // "http://127.0.0.1:PORT/hook"
  std::string Url(std::string_view path = "/hook") const;

  // For the requests that come from now on.
  void SetScript(Script script);

  // False when fewer have come within the timeout.
  bool WaitForRequests(size_t count, absl::Duration timeout = absl::Seconds(60)) const;
  std::vector<SinkRequest> requests() const;
  size_t request_count() const;
  // Those that were ever accepted.
  size_t connection_count() const;
  size_t open_connections() const;

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace postrider
