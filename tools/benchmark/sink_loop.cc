#include "tools/benchmark/sink_loop.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "absl/strings/str_cat.h"
#include "tools/benchmark/environment.h"
#include "tools/benchmark/message.h"

namespace postrider::bench {
namespace {

constexpr std::string_view kAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
constexpr int64_t kSlowNs = 10'000'000'000;
constexpr int kMaxEvents = 256;
constexpr int kControlMs = 20;
constexpr int kBacklog = 4096;

void Check(bool ok, const char* what) {
  if (!ok) Fail(absl::StrCat("sink: ", what, ": ", std::strerror(errno)));
}

void Add(int epoll_fd, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  Check(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
}

}  // namespace

Sink::Board* NewSinkBoard() {
  void* const memory = mmap(nullptr, sizeof(Sink::Board), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  Check(memory != MAP_FAILED, "mmap");
  // Without parentheses: the samples need no zeros.
  return new (memory) Sink::Board;
}

SinkLoop::SinkLoop(Sink::Board* board) : board_(board) {
  epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
  Check(epoll_fd_ >= 0, "epoll_create1");
  for (int& port : board_->ports) listeners_.push_back(Listen(&port));
  for (int& port : board_->black_hole_ports) black_holes_.push_back(Listen(&port));
}

int SinkLoop::Listen(int* port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  Check(fd >= 0, "socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  Check(bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0, "bind");
  Check(listen(fd, kBacklog) == 0, "listen");
  Check(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0, "getsockname");
  *port = ntohs(address.sin_port);
  Add(epoll_fd_, fd);
  if (static_cast<size_t>(fd) >= is_listener_.size()) is_listener_.resize(fd + 1);
  is_listener_[fd] = true;
  return fd;
}

void SinkLoop::CloseAll() {
  for (const int fd : listeners_) close(fd);
  for (const int fd : black_holes_) close(fd);
  close(epoll_fd_);
}

void SinkLoop::Run() {
  epoll_event events[kMaxEvents];
  while (true) {
    const int count = epoll_wait(epoll_fd_, events, kMaxEvents, kControlMs);
    Check(count >= 0 || errno == EINTR, "epoll_wait");
    now_ns_ = 0;
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (static_cast<size_t>(fd) < is_listener_.size() && is_listener_[fd]) {
        Accept(fd);
      } else {
        OnReadable(fd);
      }
    }
    AnswerLate();
    if (board_->black_holes_wanted != board_->black_holes_open) {
      board_->black_holes_wanted ? OpenBlackHoles() : CloseBlackHoles();
    }
  }
}

void SinkLoop::Accept(int listener) {
  while (true) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
      Check(errno == EAGAIN || errno == ECONNABORTED || errno == EINTR, "accept4");
      return;
    }
    const int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    if (static_cast<size_t>(fd) >= connections_.size()) connections_.resize(fd + 1);
    Connection& connection = connections_[fd];
    if (connection.buffer == nullptr) connection.buffer.reset(new char[kBufferBytes]);
    connection.used = 0;
    connection.generation = ++last_generation_;
    connection.to_black_hole =
        std::find(black_holes_.begin(), black_holes_.end(), listener) != black_holes_.end();
    Add(epoll_fd_, fd);
  }
}

void SinkLoop::Close(int fd) {
  connections_[fd].generation = 0;
  close(fd);
}

void SinkLoop::OnReadable(int fd) {
  Connection& connection = connections_[fd];
  char* const buffer = connection.buffer.get();
  const ssize_t count = read(fd, buffer + connection.used, kBufferBytes - connection.used);
  if (count <= 0) {
    if (count < 0 && errno == EAGAIN) return;
    Close(fd);
    return;
  }
  if (now_ns_ == 0 && (board_->record || board_->first_ns == 0)) now_ns_ = NowNs();
  connection.used += static_cast<size_t>(count);
  size_t begin = 0;
  while (begin < connection.used) {
    const std::string_view rest(buffer + begin, connection.used - begin);
    size_t body_bytes = 0;
    const size_t bytes = RequestBytes(rest, &body_bytes);
    if (bytes == 0) break;
    OnRequest(fd, rest.substr(0, bytes), body_bytes);
    begin += bytes;
  }
  connection.used -= begin;
  if (begin > 0 && connection.used > 0) std::memmove(buffer, buffer + begin, connection.used);
  if (connection.used == kBufferBytes) Close(fd);
}

size_t SinkLoop::RequestBytes(std::string_view data, size_t* body_bytes) const {
  constexpr std::string_view kLength = "Content-Length: ";
  const auto* const end = static_cast<const char*>(memmem(data.data(), data.size(), "\r\n\r\n", 4));
  if (end == nullptr) return 0;
  const size_t head = static_cast<size_t>(end - data.data()) + 4;
  const auto* const length =
      static_cast<const char*>(memmem(data.data(), head, kLength.data(), kLength.size()));
  *body_bytes = 0;
  if (length != nullptr) {
    for (const char* c = length + kLength.size(); *c >= '0' && *c <= '9'; ++c) {
      *body_bytes = *body_bytes * 10 + static_cast<size_t>(*c - '0');
    }
  }
  return data.size() < head + *body_bytes ? 0 : head + *body_bytes;
}

void SinkLoop::OnRequest(int fd, std::string_view request, size_t body_bytes) {
  constexpr size_t kKindOffset = sizeof("POST /") - 1;
  if (body_bytes != kBodyBytes) return Answer(fd);
  const char kind = request[kKindOffset];
  if (kind == 'h') {
    board_->deliveries.fetch_add(1, std::memory_order_relaxed);
    if (board_->first_ns == 0) board_->first_ns = now_ns_ != 0 ? now_ns_ : NowNs();
    if (board_->record) {
      const int64_t sent_ns = ReadStamp(request.substr(request.size() - body_bytes));
      if (sent_ns > 0) {
        const int64_t index = board_->sample_count.fetch_add(1, std::memory_order_relaxed);
        if (now_ns_ == 0) now_ns_ = NowNs();
        if (index < Sink::Board::kMaxSamples) board_->samples[index] = now_ns_ - sent_ns;
      }
    }
    if (board_->hang) return;
  } else if (kind == 's' && board_->slow) {
    late_.push_back({NowNs() + kSlowNs, fd, connections_[fd].generation});
    return;
  }
  Answer(fd);
}

void SinkLoop::Answer(int fd) {
  // So few bytes fit at once, or the other side is gone: then the next read says so.
  [[maybe_unused]] const ssize_t sent =
      send(fd, kAnswer.data(), kAnswer.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void SinkLoop::AnswerLate() {
  if (late_.empty()) return;
  const int64_t now_ns = NowNs();
  for (; !late_.empty() && late_.front().due_ns <= now_ns; late_.pop_front()) {
    const Late& late = late_.front();
    if (connections_[late.fd].generation == late.generation) Answer(late.fd);
  }
}

// A listener that does not accept, and whose queue is full, is not there for those who connect:
// their SYNs are dropped.
void SinkLoop::OpenBlackHoles() {
  for (size_t i = 0; i < black_holes_.size(); ++i) {
    const int listener = black_holes_[i];
    Check(epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, listener, nullptr) == 0, "epoll_ctl");
    Check(listen(listener, 0) == 0, "listen");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(board_->black_hole_ports[i]));
    for (int k = 0; k < 4; ++k) {
      const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
      Check(fd >= 0, "socket");
      Check(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 ||
                errno == EINPROGRESS,
            "connect");
      plugs_.push_back(fd);
    }
  }
  // Connections that are there are cut, so that nobody goes on with them.
  for (size_t fd = 0; fd < connections_.size(); ++fd) {
    const Connection& connection = connections_[fd];
    if (connection.generation != 0 && connection.to_black_hole) Close(static_cast<int>(fd));
  }
  board_->black_holes_open = true;
}

void SinkLoop::CloseBlackHoles() {
  for (const int fd : plugs_) close(fd);
  plugs_.clear();
  for (const int listener : black_holes_) {
    Check(listen(listener, kBacklog) == 0, "listen");
    Add(epoll_fd_, listener);
  }
  board_->black_holes_open = false;
}

}  // namespace postrider::bench
