#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "src/base/metrics.h"
#include "src/http/server/http_message.h"

namespace postrider {

// The right and the duty to answer one request. One that is let go without an answer answers 500.
// Thread-safe; may outlive the server, and does nothing then.
//
// An answer in pieces would be further methods here: the connection only asks how much is left.
class HttpReply {
 public:
  // Where the answer goes; the server's own.
  class Sink;

  explicit HttpReply(std::shared_ptr<Sink> sink);
  ~HttpReply();
  HttpReply(HttpReply&&) noexcept;
  HttpReply& operator=(HttpReply&&) noexcept;
  HttpReply(const HttpReply&) = delete;
  HttpReply& operator=(const HttpReply&) = delete;

  // REQUIRES: nothing was sent yet.
  void Send(HttpResponse response);
  // After so long, or at once when the server stops.
  void SendAfter(absl::Duration delay, HttpResponse response);

 private:
  std::shared_ptr<Sink> sink_;
};

// Who answers what.
struct HttpRoute {
  // A path, or what paths begin with.
  std::string path;
  bool prefix = false;
  // Empty: all. With GET comes HEAD.
  std::vector<std::string> methods;
  size_t max_body_bytes = 0;
  // Is answered, too, when only what is held in reserve is left.
  bool in_reserve = false;
  // Called on the server's thread, and must not block it.
  std::function<void(HttpRequest, HttpReply)> handle;
};

// What a client can make the server hold. Beyond the connections' bounds are those in reserve,
// which get one answer of a route in reserve, or 503; when they run out, the oldest one whose
// request is not there yet makes room.
struct HttpServerLimits {
  size_t max_connections = 4096;
  // Of one IPv4 address, or one IPv6 network of 64 bits.
  size_t max_peer_connections = 2048;
  size_t reserved_connections = 64;
  // From the first byte of a request to the last one of its answer, without the time that the
  // handler takes.
  absl::Duration request_timeout = absl::Seconds(30);
  // Until the first byte of the next request.
  absl::Duration idle_timeout = absl::Seconds(75);
  size_t max_headers = 100;
  size_t max_header_bytes = size_t{16} << 10;
  // Of all bodies that came, and all answers that are not on the wire yet. Beyond it a request is
  // answered 503.
  size_t max_held_bytes = size_t{64} << 20;
};

struct HttpServerMetrics {
  Gauge connections;
  Counter accepted;
  Gauge held_bytes;
  Counter requests;
  // Connections closed and requests answered 503 since a bound was reached.
  Counter refused;
  // Connections whose time was over.
  Counter timeouts;
  Counter accept_failures;
};

struct HttpServerOptions {
  std::string host;
  int port = 0;
  std::vector<HttpRoute> routes;
  HttpServerLimits limits;
  // Connections cannot be accepted: why; empty: they can again. On the server's thread.
  std::function<void(const std::string& why)> on_accept_trouble;
};

// An HTTP/1.1 server on one thread: it accepts, reads and writes without ever blocking, with
// Boost.Asio, parses with Beast, and hands each request, whole, to the route that takes it.
//
// Listen, Start and the destructor belong to one thread; the rest is thread-safe.
class HttpServer {
 public:
  // Listens, but nobody is served yet. UNAVAILABLE says why it cannot, in a few words.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Listen(HttpServerOptions options);
  // Serves from now on. Once.
  void Start();

  // Stops at once, unless BeginStop was called: then waits for as long as that has left.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Takes nothing new, ends what is not being answered, and what is not answered at the end of the
  // timeout. Returns at once. Idempotent: the first one counts.
  void BeginStop(absl::Duration timeout);

  // Runs the closure on the server's thread, after what is ready there; never once it has stopped.
  void Post(std::function<void()> closure);

  // The real one.
  int port() const { return port_; }
  const HttpServerMetrics& metrics() const;

 private:
  class Impl;
  HttpServer(std::unique_ptr<Impl> impl, int port);

  const std::unique_ptr<Impl> impl_;
  const int port_;
};

}  // namespace postrider
