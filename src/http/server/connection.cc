#include "src/http/server/connection.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"

namespace postrider {
namespace {

namespace asio = boost::asio;

// A reserve that is taken up must come free soon.
constexpr absl::Duration kReservedTimeout = absl::Seconds(5);
// A client that still sends must have the time to read why it was refused.
constexpr std::chrono::seconds kLinger{2};
constexpr size_t kMaxDiscarded = size_t{256} << 10;
// What a fast client needs, however long it took for its request.
constexpr std::chrono::seconds kMinWriteTime{1};

std::chrono::nanoseconds Chrono(absl::Duration duration) {
  return absl::ToChronoNanoseconds(std::min(duration, absl::Hours(24)));
}

const char* WhyRefused(int status) {
  switch (status) {
    case 408:
      return "the request took too long";
    case 413:
      return "the body is too large";
    case 417:
      return "of what Expect can ask for, 100-continue is known";
    case 431:
      return "the header lines are too many, or too long";
    case 501:
      return "of the transfer encodings, chunked is known";
    case 503:
      return "too many requests are under way";
    case 505:
      return "of HTTP's versions, 1.0 and 1.1 are known";
    default:
      return "this is no HTTP request";
  }
}

bool Takes(const HttpRoute& route, const std::string& method) {
  if (route.methods.empty()) return true;
  for (const std::string& taken : route.methods) {
    if (method == taken || (method == "HEAD" && taken == "GET")) return true;
  }
  return false;
}

}  // namespace

// Knows the connection only as long as that lives, and its io_context for as long as anybody does.
class HttpReply::Sink {
 public:
  Sink(std::weak_ptr<HttpConnection> connection, std::shared_ptr<asio::io_context> io)
      : connection_(std::move(connection)), io_(std::move(io)) {}

  void Send(HttpResponse response, absl::Duration delay) {
    asio::post(*io_, [connection = connection_, response = std::move(response), delay]() mutable {
      const std::shared_ptr<HttpConnection> to = connection.lock();
      if (to != nullptr) to->Answer(std::move(response), delay);
    });
  }

 private:
  const std::weak_ptr<HttpConnection> connection_;
  const std::shared_ptr<asio::io_context> io_;
};

HttpReply::HttpReply(std::shared_ptr<Sink> sink) : sink_(std::move(sink)) {}
HttpReply::HttpReply(HttpReply&&) noexcept = default;
HttpReply& HttpReply::operator=(HttpReply&&) noexcept = default;
HttpReply::~HttpReply() {
  if (sink_ != nullptr) Send(TextResponse(500, "the request was let go without an answer"));
}

void HttpReply::Send(HttpResponse response) {
  SendAfter(absl::ZeroDuration(), std::move(response));
}

void HttpReply::SendAfter(absl::Duration delay, HttpResponse response) {
  std::exchange(sink_, nullptr)->Send(std::move(response), delay);
}

const HttpRoute* HttpConnections::RouteOf(std::string_view path) const {
  const HttpRoute* best = nullptr;
  for (const HttpRoute& route : options.routes) {
    const bool fits = route.prefix ? path.substr(0, route.path.size()) == route.path
                                   : path == route.path;
    if (fits && (best == nullptr || route.path.size() > best->path.size())) best = &route;
  }
  return best;
}

void HttpConnections::Hold(size_t bytes) {
  held_bytes += bytes;
  metrics.held_bytes.Add(static_cast<int64_t>(bytes));
}

void HttpConnections::Release(size_t bytes) {
  held_bytes -= bytes;
  metrics.held_bytes.Add(-static_cast<int64_t>(bytes));
}

HttpConnection::HttpConnection(Socket socket, std::string peer, bool reserved,
                               HttpConnections& shared, std::shared_ptr<asio::io_context> io,
                               std::function<void(HttpConnection*)> on_closed)
    : socket_(std::move(socket)),
      timer_(*io),
      reserved_(reserved),
      peer_(std::move(peer)),
      shared_(shared),
      io_(std::move(io)),
      on_closed_(std::move(on_closed)) {}

void HttpConnection::Start() {
  BeginRequest();
  // A new one has a request to make.
  const absl::Duration timeout = shared_.options.limits.request_timeout;
  SetTimer(Chrono(reserved_ ? std::min(timeout, kReservedTimeout) : timeout));
  WaitForBytes();
}

void HttpConnection::Close() {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  shared_.Release(std::exchange(held_, 0));
  Error ignored;
  socket_.close(ignored);
  timer_.cancel();
  on_closed_(this);
}

void HttpConnection::Stop() {
  if (state_ == State::kDelayed) {
    Write(*std::exchange(delayed_, std::nullopt));
  } else if (state_ != State::kHandling && state_ != State::kWriting) {
    Close();
  }
}

void HttpConnection::BeginRequest() {
  state_ = State::kIdle;
  const HttpServerLimits& limits = shared_.options.limits;
  request_ = std::make_unique<HttpRequest>();
  parser_.emplace(RequestParser::Limits{limits.max_headers, limits.max_header_bytes},
                  request_.get());
  route_ = nullptr;
  head_only_ = false;
}

void HttpConnection::WaitForBytes() {
  socket_.async_wait(Socket::wait_read, [self = shared_from_this()](const Error& error) {
    self->OnReadable(error);
  });
}

void HttpConnection::OnReadable(const Error& error) {
  if (state_ != State::kIdle && state_ != State::kReading) return;
  if (error) return Close();
  Error failure;
  const size_t size = socket_.read_some(asio::buffer(shared_.scratch), failure);
  if (failure == asio::error::would_block || failure == asio::error::interrupted) {
    return WaitForBytes();
  }
  // An end between requests is usual, and one within a request leaves nobody to answer.
  if (failure) return Close();
  in_.append(shared_.scratch.data(), size);
  Parse();
}

void HttpConnection::Parse() {
  if (state_ == State::kIdle) {
    state_ = State::kReading;
    const absl::Duration timeout = shared_.options.limits.request_timeout;
    const auto time = Chrono(reserved_ ? std::min(timeout, kReservedTimeout) : timeout);
    deadline_ = Clock::now() + time;
    SetTimer(time);
  }
  size_t begin = 0;
  for (;;) {
    size_t taken = 0;
    const RequestParser::State state =
        parser_->Put(std::string_view(in_).substr(begin), &taken);
    begin += taken;
    HoldBody();
    if (state == RequestParser::State::kHeader) {
      in_.erase(0, std::exchange(begin, 0));
      if (!OnHeader()) return;
      if (parser_->has_body()) continue;
    }
    if (state == RequestParser::State::kBad) return Refuse(parser_->status());
    if (held_ > 0 && shared_.held_bytes > shared_.options.limits.max_held_bytes) {
      shared_.metrics.refused.Add();
      return Refuse(503);
    }
    if (state == RequestParser::State::kMore) {
      if (taken > 0 && begin < in_.size()) continue;
      in_.erase(0, begin);
      return WaitForBytes();
    }
    in_.erase(0, begin);
    return Handle();
  }
}

bool HttpConnection::OnHeader() {
  shared_.metrics.requests.Add();
  keep_alive_ = parser_->keeps_alive() && !reserved_;
  head_only_ = request_->method == "HEAD";
  route_ = shared_.RouteOf(request_->path);
  if ((reserved_ || shared_.full()) && (route_ == nullptr || !route_->in_reserve)) {
    shared_.metrics.refused.Add();
    Refuse(503);
    return false;
  }
  if (route_ == nullptr || !Takes(*route_, request_->method)) {
    // A body that nobody wants is not read.
    keep_alive_ = keep_alive_ && !parser_->has_body();
    HttpResponse response = route_ == nullptr
                                ? TextResponse(404, "there is no such page")
                                : TextResponse(405, "this page does not take that method");
    if (route_ != nullptr) {
      response.headers.emplace_back("Allow", absl::StrJoin(route_->methods, ", "));
    }
    left_ = deadline_ - Clock::now();
    Write(std::move(response));
    return false;
  }
  if (parser_->too_long(route_->max_body_bytes)) {
    Refuse(413);
    return false;
  }
  parser_->SetBodyLimit(route_->max_body_bytes);
  if (parser_->has_body() && parser_->expects_continue()) {
    // Nothing else is on its way there, so the kernel has room for it.
    Error ignored;
    socket_.write_some(asio::buffer(std::string_view("HTTP/1.1 100 Continue\r\n\r\n")), ignored);
  }
  return true;
}

void HttpConnection::HoldBody() {
  const size_t size = request_->body.size();
  if (size <= held_) return;
  shared_.Hold(size - held_);
  held_ = size;
}

void HttpConnection::Handle() {
  state_ = State::kHandling;
  left_ = deadline_ - Clock::now();
  timer_.cancel();
  request_->peer = peer_;
  HttpReply reply(std::make_shared<HttpReply::Sink>(weak_from_this(), io_));
  route_->handle(std::move(*request_), std::move(reply));
}

void HttpConnection::Answer(HttpResponse response, absl::Duration delay) {
  if (state_ != State::kHandling) return;
  if (delay > absl::ZeroDuration() && !shared_.stopping) {
    state_ = State::kDelayed;
    delayed_ = std::move(response);
    return SetTimer(Chrono(delay));
  }
  if (shared_.held_bytes + response.body.size() > shared_.options.limits.max_held_bytes &&
      !route_->in_reserve) {
    shared_.metrics.refused.Add();
    response = TextResponse(503, "too many answers wait for their readers");
    response.headers.emplace_back("Retry-After", "1");
  }
  Write(std::move(response));
}

void HttpConnection::Refuse(int status) {
  keep_alive_ = false;
  left_ = kMinWriteTime;
  HttpResponse response = TextResponse(status, WhyRefused(status));
  if (status == 503) response.headers.emplace_back("Retry-After", "1");
  Write(std::move(response));
}

void HttpConnection::Write(HttpResponse response) {
  state_ = State::kWriting;
  SetTimer(std::max<Clock::duration>(left_, kMinWriteTime));
  keep_alive_ = keep_alive_ && !shared_.stopping;
  out_head_ = ResponseHead(response, keep_alive_);
  out_body_ = head_only_ ? std::string() : std::move(response.body);
  // The request's body is no longer of use, but counts until its answer is on the wire.
  const size_t size = out_head_.size() + out_body_.size();
  shared_.Hold(size);
  held_ += size;
  const std::array<asio::const_buffer, 2> buffers = {asio::buffer(out_head_),
                                                     asio::buffer(out_body_)};
  asio::async_write(socket_, buffers,
                    [self = shared_from_this()](const Error& error, size_t /*size*/) {
                      self->OnWritten(error);
                    });
}

void HttpConnection::OnWritten(const Error& error) {
  if (state_ != State::kWriting) return;
  if (error) return Close();
  shared_.Release(std::exchange(held_, 0));
  std::string().swap(out_head_);
  std::string().swap(out_body_);
  if (!keep_alive_ || shared_.stopping) return Linger();
  BeginRequest();
  if (!in_.empty()) return Parse();
  std::string().swap(in_);
  SetTimer(Chrono(shared_.options.limits.idle_timeout));
  WaitForBytes();
}

// Closed with bytes unread, a connection is reset, and the answer may be lost with it.
void HttpConnection::Linger() {
  state_ = State::kLingering;
  std::string().swap(in_);
  Error error;
  socket_.shutdown(Socket::shutdown_send, error);
  if (error || shared_.stopping) return Close();
  SetTimer(kLinger);
  Discard();
}

void HttpConnection::Discard() {
  socket_.async_wait(Socket::wait_read, [self = shared_from_this()](const Error& error) {
    if (self->state_ != State::kLingering) return;
    Error failure;
    const size_t size =
        error ? 0 : self->socket_.read_some(asio::buffer(self->shared_.scratch), failure);
    if (error || (failure && failure != asio::error::would_block)) return self->Close();
    self->discarded_ += size;
    if (self->discarded_ > kMaxDiscarded) return self->Close();
    self->Discard();
  });
}

void HttpConnection::SetTimer(Clock::duration timeout) {
  timer_.expires_after(timeout);
  timer_.async_wait([weak = weak_from_this()](const Error& error) {
    const std::shared_ptr<HttpConnection> self = weak.lock();
    // One that was set again meanwhile is not over.
    if (self == nullptr || error || self->timer_.expiry() > Clock::now()) return;
    self->OnTimer();
  });
}

void HttpConnection::OnTimer() {
  switch (state_) {
    case State::kDelayed:
      state_ = State::kHandling;
      Answer(*std::exchange(delayed_, std::nullopt), {});
      return;
    case State::kReading:
      shared_.metrics.timeouts.Add();
      Refuse(408);
      return;
    case State::kWriting:
      shared_.metrics.timeouts.Add();
      Close();
      return;
    case State::kIdle:
    case State::kLingering:
      Close();
      return;
    case State::kHandling:
    case State::kClosed:
      return;
  }
}

}  // namespace postrider
