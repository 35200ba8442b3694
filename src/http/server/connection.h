#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "src/http/server/http_server.h"
#include "src/http/server/request_parser.h"

namespace postrider {

// What the connections of a server share. Owned by the server's thread.
struct HttpConnections {
  const HttpServerOptions& options;
  HttpServerMetrics& metrics;
  bool stopping = false;
  size_t held_bytes = 0;
  std::array<char, 16384> scratch;

  // The route for the path; nothing when there is none.
  const HttpRoute* RouteOf(std::string_view path) const;
  bool full() const { return held_bytes >= options.limits.max_held_bytes; }
  void Hold(size_t bytes);
  void Release(size_t bytes);
};

// One client's connection: reads a request, has it answered, writes the answer, again and again.
// It reads nothing while it answers, so a client holds no more than one request here, and what the
// kernel takes.
//
//   idle -> reading -> handling -> writing -> idle
//                 \________________/     \--> lingering -> closed
//
// Belongs to the server's thread. What is under way holds a reference; the server another one until
// `on_closed` is called.
class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  using Socket = boost::asio::ip::tcp::socket;

  // `reserved`: gets one answer, of a route in reserve.
  HttpConnection(Socket socket, std::string peer, bool reserved, HttpConnections& shared,
                 std::shared_ptr<boost::asio::io_context> io,
                 std::function<void(HttpConnection*)> on_closed);

  void Start();
  void Close();
  // Closes it, unless it is being answered; then it ends after the answer.
  void Stop();
  // No request is there yet, or not all of it: it can be closed without harm.
  bool waits() const { return state_ == State::kIdle || state_ == State::kReading; }
  bool idle() const { return state_ == State::kIdle; }
  bool reserved() const { return reserved_; }

  // From HttpReply.
  void Answer(HttpResponse response, absl::Duration delay);

  // The server's own, for its tables.
  std::string peer_key;
  std::list<std::shared_ptr<HttpConnection>>::iterator place;

 private:
  enum class State { kIdle, kReading, kHandling, kDelayed, kWriting, kLingering, kClosed };
  using Clock = std::chrono::steady_clock;
  using Error = boost::system::error_code;

  void BeginRequest();
  void WaitForBytes();
  void OnReadable(const Error& error);
  void Parse();
  // Decides by the headers. False when that was the end of it.
  bool OnHeader();
  void HoldBody();
  void Handle();
  // An answer of ours; the connection ends with it.
  void Refuse(int status);
  void Write(HttpResponse response);
  void OnWritten(const Error& error);
  void Linger();
  void Discard();
  void SetTimer(Clock::duration timeout);
  void OnTimer();

  Socket socket_;
  boost::asio::steady_timer timer_;
  const bool reserved_;
  const std::string peer_;
  HttpConnections& shared_;
  const std::shared_ptr<boost::asio::io_context> io_;
  const std::function<void(HttpConnection*)> on_closed_;

  State state_ = State::kIdle;
  // What came and is not parsed.
  std::string in_;
  std::unique_ptr<HttpRequest> request_;
  std::optional<RequestParser> parser_;
  const HttpRoute* route_ = nullptr;
  bool head_only_ = false;
  bool keep_alive_ = true;
  // The request's time is over then; while the handler works it stands still as what is left.
  Clock::time_point deadline_;
  Clock::duration left_{};
  size_t held_ = 0;
  size_t discarded_ = 0;
  std::optional<HttpResponse> delayed_;
  std::string out_head_;
  std::string out_body_;
};

}  // namespace postrider
