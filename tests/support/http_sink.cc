#include "tests/support/http_sink.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "src/base/clock.h"
#include "src/base/mutex.h"

namespace postrider {
namespace {

constexpr size_t kReadBytes = size_t{64} << 10;

[[noreturn]] void Die(const char* call) {
  std::fprintf(stderr, "HttpSink: %s failed: %s\n", call, std::strerror(errno));
  std::abort();
}

// A listening socket, and where it listens.
int Listen(const std::string& address, int* port) {
  sockaddr_storage storage{};
  socklen_t size = sizeof(sockaddr_in);
  auto* const v4 = reinterpret_cast<sockaddr_in*>(&storage);
  auto* const v6 = reinterpret_cast<sockaddr_in6*>(&storage);
  if (inet_pton(AF_INET, address.c_str(), &v4->sin_addr) == 1) {
    storage.ss_family = AF_INET;
  } else if (inet_pton(AF_INET6, address.c_str(), &v6->sin6_addr) == 1) {
    storage.ss_family = AF_INET6;
    size = sizeof(sockaddr_in6);
  } else {
    errno = EINVAL;
    Die("inet_pton");
  }
  const int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) Die("socket");
  if (bind(fd, reinterpret_cast<sockaddr*>(&storage), size) != 0) Die("bind");
  if (listen(fd, SOMAXCONN) != 0) Die("listen");
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) Die("getsockname");
  *port = ntohs(storage.ss_family == AF_INET ? v4->sin_port : v6->sin6_port);
  return fd;
}

// Takes one request from the front of `input`. False when it is not there in full.
bool TakeRequest(std::string* input, SinkRequest* request) {
  const size_t end = input->find("\r\n\r\n");
  if (end == std::string::npos) return false;
  size_t length = 0;
  std::vector<std::pair<std::string, std::string>> headers;
  const std::vector<std::string> lines = absl::StrSplit(input->substr(0, end), "\r\n");
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::pair<std::string, std::string> header =
        absl::StrSplit(lines[i], absl::MaxSplits(':', 1));
    headers.emplace_back(header.first, absl::StripAsciiWhitespace(header.second));
    if (absl::EqualsIgnoreCase(header.first, "Content-Length") &&
        !absl::SimpleAtoi(headers.back().second, &length)) {
      std::fprintf(stderr, "HttpSink: no length: %s\n", lines[i].c_str());
      std::abort();
    }
  }
  const size_t body_start = end + 4;
  if (input->size() - body_start < length) return false;
  const std::vector<std::string> first = absl::StrSplit(lines[0], ' ');
  request->method = first[0];
  request->target = first.size() > 1 ? first[1] : "";
  request->headers = std::move(headers);
  request->body = input->substr(body_start, length);
  request->time = absl::Now();
  input->erase(0, body_start + length);
  return true;
}

std::string Head(const SinkAnswer& answer) {
  std::string head = absl::StrCat("HTTP/1.1 ", answer.status, " Status\r\n");
  for (const auto& [name, value] : answer.headers) {
    absl::StrAppend(&head, name, ": ", value, "\r\n");
  }
  if (answer.close) head += "Connection: close\r\n";
  if (answer.way == SinkAnswer::Way::kEndless) {
    head += "Transfer-Encoding: chunked\r\n";
  } else if (answer.status >= 200 && answer.status != 204 && answer.status != 304) {
    absl::StrAppend(&head, "Content-Length: ", answer.body.size(), "\r\n");
  }
  return head + "\r\n";
}

}  // namespace

std::optional<std::string> SinkRequest::Header(std::string_view name) const {
  for (const auto& [header, value] : headers) {
    if (absl::EqualsIgnoreCase(header, std::string(name))) return value;
  }
  return std::nullopt;
}

class HttpSink::Impl {
 public:
  Impl(Script script, const std::string& address)
      : address_(address),
        listener_(Listen(address, &port_)),
        epoll_(epoll_create1(EPOLL_CLOEXEC)),
        stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        script_(std::move(script)) {
    if (epoll_ < 0 || stop_ < 0) Die("epoll_create1 or eventfd");
    Control(EPOLL_CTL_ADD, listener_, EPOLLIN);
    Control(EPOLL_CTL_ADD, stop_, EPOLLIN);
    thread_ = std::thread([this] { Run(); });
  }

  ~Impl() {
    if (eventfd_write(stop_, 1) != 0) Die("eventfd_write");
    thread_.join();
    for (const auto& [fd, connection] : connections_) close(fd);
    close(listener_);
    close(epoll_);
    close(stop_);
  }

  int port() const { return port_; }

  std::string Url(std::string_view path) const {
    const bool is_v6 = address_.find(':') != std::string::npos;
    return absl::StrCat("http://", is_v6 ? "[" : "", address_, is_v6 ? "]" : "", ":", port_,
                        std::string(path));
  }

  void SetScript(Script script) {
    MutexLock lock(&mutex_);
    script_ = std::move(script);
  }

  bool WaitForRequests(size_t count, absl::Duration timeout) const {
    const absl::Duration deadline = SystemClock().Monotonic() + timeout;
    MutexLock lock(&mutex_);
    while (requests_.size() < count) {
      const absl::Duration left = deadline - SystemClock().Monotonic();
      if (left <= absl::ZeroDuration()) return false;
      changed_.WaitFor(&mutex_, left);
    }
    return true;
  }

  std::vector<SinkRequest> requests() const {
    MutexLock lock(&mutex_);
    return requests_;
  }

  size_t request_count() const {
    MutexLock lock(&mutex_);
    return requests_.size();
  }

  size_t connection_count() const {
    MutexLock lock(&mutex_);
    return accepted_;
  }

  size_t open_connections() const {
    MutexLock lock(&mutex_);
    return open_;
  }

 private:
  struct Connection {
    int number = 0;
    std::string input;
    std::string output;
    // What comes after `output`, over and over.
    std::string endless;
    // A request is served; the next one is looked at when it is over.
    bool busy = false;
    bool close_when_sent = false;
    bool close_at_next = false;
    // When `waiting` is due (SystemClock's Monotonic).
    absl::Duration due = absl::InfiniteDuration();
    SinkAnswer waiting;
    uint32_t watched = EPOLLIN;
  };

  void Control(int operation, int fd, uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    if (epoll_ctl(epoll_, operation, fd, &event) != 0) Die("epoll_ctl");
  }

  void Run() {
    std::array<epoll_event, 64> events;
    while (true) {
      const int count = epoll_wait(epoll_, events.data(), events.size(), TimeoutMillis());
      if (count < 0 && errno != EINTR) Die("epoll_wait");
      for (int i = 0; i < count; ++i) {
        const int fd = events[i].data.fd;
        if (fd == stop_) return;
        if (fd == listener_) {
          Accept();
        } else {
          Serve(fd, events[i].events);
        }
      }
      AnswerDue();
    }
  }

  int TimeoutMillis() const {
    absl::Duration due = absl::InfiniteDuration();
    for (const auto& [fd, connection] : connections_) due = std::min(due, connection.due);
    if (due == absl::InfiniteDuration()) return -1;
    const absl::Duration wait =
        std::clamp(due - SystemClock().Monotonic(), absl::ZeroDuration(), absl::Minutes(1));
    return static_cast<int>(absl::ToInt64Milliseconds(wait + absl::Microseconds(999)));
  }

  void Accept() {
    while (true) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      const int yes = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
      Control(EPOLL_CTL_ADD, fd, EPOLLIN);
      MutexLock lock(&mutex_);
      connections_[fd].number = static_cast<int>(accepted_++);
      ++open_;
    }
  }

  void Close(int fd) {
    close(fd);
    connections_.erase(fd);
    MutexLock lock(&mutex_);
    --open_;
  }

  void Serve(int fd, uint32_t events) {
    const auto it = connections_.find(fd);
    // Closed since the event was told.
    if (it == connections_.end()) return;
    Connection& connection = it->second;
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
      if (connection.close_at_next || !Read(fd, &connection)) {
        Close(fd);
        return;
      }
      TakeRequests(&connection);
    }
    Continue(fd);
  }

  // False when the client has closed.
  bool Read(int fd, Connection* connection) {
    std::array<char, kReadBytes> buffer;
    const ssize_t size = recv(fd, buffer.data(), buffer.size(), 0);
    if (size < 0) return errno == EAGAIN || errno == EINTR;
    connection->input.append(buffer.data(), size);
    return size > 0;
  }

  void TakeRequests(Connection* connection) {
    SinkRequest request;
    while (!connection->busy && !connection->close_at_next && !connection->close_when_sent &&
           TakeRequest(&connection->input, &request)) {
      request.connection = connection->number;
      connection->busy = true;
      Script script;
      {
        MutexLock lock(&mutex_);
        requests_.push_back(request);
        script = script_;
        changed_.SignalAll();
      }
      connection->waiting = script ? script(request) : SinkAnswer();
      if (connection->waiting.delay > absl::ZeroDuration()) {
        connection->due = SystemClock().Monotonic() + connection->waiting.delay;
      } else {
        Answer(connection);
      }
    }
  }

  void Answer(Connection* connection) {
    connection->due = absl::InfiniteDuration();
    SinkAnswer answer = std::move(connection->waiting);
    switch (answer.way) {
      case SinkAnswer::Way::kHang:
        return;
      case SinkAnswer::Way::kDrop:
        connection->close_when_sent = true;
        return;
      case SinkAnswer::Way::kRaw:
        connection->output += answer.body;
        connection->close_when_sent = true;
        return;
      case SinkAnswer::Way::kEndless: {
        const std::string piece = answer.body.empty() ? std::string(4096, 'x') : answer.body;
        connection->output += Head(answer);
        connection->endless = absl::StrCat(absl::Hex(piece.size()), "\r\n", piece, "\r\n");
        return;
      }
      case SinkAnswer::Way::kCloseSilently:
        connection->close_at_next = true;
        break;
      case SinkAnswer::Way::kAnswer:
        connection->close_when_sent = answer.close;
        break;
    }
    connection->output += Head(answer) + answer.body;
    connection->busy = false;
  }

  void AnswerDue() {
    const absl::Duration now = SystemClock().Monotonic();
    std::vector<int> due;
    for (const auto& [fd, connection] : connections_) {
      if (connection.due <= now) due.push_back(fd);
    }
    for (const int fd : due) {
      Connection& connection = connections_.at(fd);
      Answer(&connection);
      TakeRequests(&connection);
      Continue(fd);
    }
  }

  // Writes what can be written, and waits for what cannot.
  void Continue(int fd) {
    const auto it = connections_.find(fd);
    if (it == connections_.end()) return;
    Connection& connection = it->second;
    if (connection.output.empty()) connection.output = connection.endless;
    while (!connection.output.empty()) {
      const ssize_t size =
          send(fd, connection.output.data(), connection.output.size(), MSG_NOSIGNAL);
      if (size < 0) {
        if (errno == EAGAIN || errno == EINTR) break;
        Close(fd);
        return;
      }
      connection.output.erase(0, size);
      // An endless body leaves the others their turn: the kernel says when there is room again.
      if (!connection.endless.empty()) break;
    }
    if (connection.output.empty() && connection.close_when_sent) {
      Close(fd);
      return;
    }
    const bool writes = !connection.output.empty() || !connection.endless.empty();
    const uint32_t wanted = EPOLLIN | (writes ? EPOLLOUT : 0u);
    if (wanted == connection.watched) return;
    connection.watched = wanted;
    Control(EPOLL_CTL_MOD, fd, wanted);
  }

  const std::string address_;
  int port_ = 0;
  const int listener_;
  const int epoll_;
  const int stop_;

  // Owned by the thread.
  std::map<int, Connection> connections_;

  mutable Mutex mutex_;
  mutable CondVar changed_;
  Script script_ ABSL_GUARDED_BY(mutex_);
  std::vector<SinkRequest> requests_ ABSL_GUARDED_BY(mutex_);
  size_t accepted_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t open_ ABSL_GUARDED_BY(mutex_) = 0;

  std::thread thread_;
};

HttpSink::HttpSink(Script script, const std::string& address)
    : impl_(std::make_unique<Impl>(std::move(script), address)) {}
HttpSink::~HttpSink() = default;

int HttpSink::port() const { return impl_->port(); }
std::string HttpSink::Url(std::string_view path) const { return impl_->Url(path); }
void HttpSink::SetScript(Script script) { impl_->SetScript(std::move(script)); }
bool HttpSink::WaitForRequests(size_t count, absl::Duration timeout) const {
  return impl_->WaitForRequests(count, timeout);
}
std::vector<SinkRequest> HttpSink::requests() const { return impl_->requests(); }
size_t HttpSink::request_count() const { return impl_->request_count(); }
size_t HttpSink::connection_count() const { return impl_->connection_count(); }
size_t HttpSink::open_connections() const { return impl_->open_connections(); }

}  // namespace postrider
