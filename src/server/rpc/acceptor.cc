#include "src/server/rpc/acceptor.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "src/base/clock.h"

namespace postrider {
namespace {

constexpr int kBacklog = 4096;
// So many before the time is looked at again.
constexpr int kAcceptsInARow = 64;
constexpr absl::Duration kTickInterval = absl::Seconds(1);
constexpr absl::Duration kShortageWait = absl::Milliseconds(100);

bool IsShortage(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

absl::Status Errno(int error) {
  return IsShortage(error) ? absl::ResourceExhaustedError(std::strerror(error))
                           : absl::UnavailableError(std::strerror(error));
}

int PortOf(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  return ntohs(address.ss_family == AF_INET6
                   ? reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port
                   : reinterpret_cast<const sockaddr_in*>(&address)->sin_port);
}

void SetPort(addrinfo* found, int port) {
  if (found->ai_family == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(found->ai_addr)->sin6_port = htons(static_cast<uint16_t>(port));
  } else {
    reinterpret_cast<sockaddr_in*>(found->ai_addr)->sin_port = htons(static_cast<uint16_t>(port));
  }
}

absl::StatusOr<int> ListenOn(const addrinfo& found) {
  const int fd = socket(found.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return Errno(errno);
  const int yes = 1;
  const int no = 0;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  if (found.ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no));
  if (bind(fd, found.ai_addr, found.ai_addrlen) == 0 && listen(fd, kBacklog) == 0) return fd;
  const absl::Status status = Errno(errno);
  close(fd);
  return status;
}

// Every address of the host, on one port. One that cannot be had matters only if no other can.
absl::StatusOr<std::vector<int>> ListenOnAll(const HostPort& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* all = nullptr;
  const int error =
      getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &all);
  if (error != 0) return absl::UnavailableError(gai_strerror(error));
  std::vector<int> listeners;
  absl::Status failure = absl::UnavailableError("the name has no address");
  for (addrinfo* found = all; found != nullptr; found = found->ai_next) {
    if (found->ai_family != AF_INET && found->ai_family != AF_INET6) continue;
    if (!listeners.empty()) SetPort(found, PortOf(listeners.front()));
    absl::StatusOr<int> listener = ListenOn(*found);
    if (listener.ok()) {
      listeners.push_back(*listener);
    } else if (listeners.empty()) {
      failure = listener.status();
    }
  }
  freeaddrinfo(all);
  if (listeners.empty()) return failure;
  return listeners;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Acceptor>> Acceptor::Listen(
    const HostPort& address, std::shared_ptr<CallerConnections> table) {
  HostPort real = address;
  absl::StatusOr<std::vector<int>> listeners = absl::UnavailableError("");
  if (address.host == "0.0.0.0") {
    // Every address of the machine, of either kind, as users of it expect.
    HostPort any = address;
    any.host = "::";
    listeners = ListenOnAll(any);
  }
  if (!listeners.ok()) listeners = ListenOnAll(address);
  if (!listeners.ok()) return listeners.status();
  real.port = PortOf(listeners->front());
  const int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake < 0) {
    const absl::Status status = Errno(errno);
    for (const int listener : *listeners) close(listener);
    return status;
  }
  return std::unique_ptr<Acceptor>(
      new Acceptor(std::move(table), std::move(real), *std::move(listeners), wake));
}

Acceptor::Acceptor(std::shared_ptr<CallerConnections> table, HostPort address,
                   std::vector<int> listeners, int wake)
    : table_(std::move(table)),
      address_(std::move(address)),
      listeners_(std::move(listeners)),
      wake_(wake),
      refusal_limiter_(SystemClock(), 1),
      shortage_limiter_(SystemClock(), 1) {}

Acceptor::~Acceptor() {
  Stop();
  close(wake_);
}

void Acceptor::Start(HandOver hand_over, Tick tick) {
  hand_over_ = std::move(hand_over);
  tick_ = std::move(tick);
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "acceptor");
    Run();
  });
}

void Acceptor::Stop() {
  if (stopping_.exchange(true)) return;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof(one));
  if (thread_.joinable()) thread_.join();
  for (const int listener : listeners_) close(listener);
  listeners_.clear();
}

bool Acceptor::CanAccept() const {
  if (starved_.load(std::memory_order_relaxed) || !table_->HasRoom()) return false;
  // A listener that nobody calls does not notice that there are none left.
  const int probe = fcntl(wake_, F_DUPFD_CLOEXEC, 0);
  if (probe >= 0) close(probe);
  return probe >= 0;
}

void Acceptor::Run() {
  const Clock& clock = SystemClock();
  absl::Duration next_tick = clock.Monotonic() + kTickInterval;
  std::vector<pollfd> polled = {{wake_, POLLIN, 0}};
  for (const int listener : listeners_) polled.push_back({listener, POLLIN, 0});
  while (!stopping_.load()) {
    const bool starved = starved_.load(std::memory_order_relaxed);
    const absl::Duration wait =
        std::max(absl::ZeroDuration(), next_tick - clock.Monotonic());
    // While there is nothing to accept with, who waits must not wake us.
    poll(polled.data(), starved ? 1 : polled.size(),
         static_cast<int>(absl::ToInt64Milliseconds(starved ? kShortageWait : wait)) + 1);
    bool enough = true;
    for (size_t i = 1; i < polled.size() && enough && !stopping_.load(); ++i) {
      enough = AcceptAll(polled[i].fd);
    }
    starved_.store(!enough, std::memory_order_relaxed);
    if (clock.Monotonic() < next_tick) continue;
    next_tick = clock.Monotonic() + kTickInterval;
    if (tick_) tick_();
  }
}

bool Acceptor::AcceptAll(int listener) {
  for (int i = 0; i < kAcceptsInARow; ++i) {
    sockaddr_storage address{};
    socklen_t size = sizeof(address);
    auto* const peer = reinterpret_cast<sockaddr*>(&address);
    const int fd = accept4(listener, peer, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
      Take(fd, peer);
    } else if (IsShortage(errno)) {
      TellOfShortage(errno);
      return false;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return true;
    }
    // Anything else is the end of a connection that nobody has seen yet.
  }
  return true;
}

void Acceptor::Take(int fd, const sockaddr* address) {
  const int yes = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
  const CallerConnections::Verdict verdict = table_->Add(fd, address);
  if (verdict == CallerConnections::Verdict::kTaken) {
    hand_over_(fd);
    return;
  }
  close(fd);
  uint64_t suppressed = 0;
  if (!refusal_limiter_.Allow(&suppressed)) return;
  Log(LogLevel::kWarn, "a connection was refused, since there are as many as there may be",
      {{"bound", verdict == CallerConnections::Verdict::kTooMany ? "in all" : "of one peer"},
       {"suppressed", absl::StrCat(suppressed)}});
}

void Acceptor::TellOfShortage(int error) {
  uint64_t suppressed = 0;
  if (!shortage_limiter_.Allow(&suppressed)) return;
  Log(LogLevel::kWarn,
      "no connection can be accepted, and callers wait: see what holds the descriptors, or raise "
      "the limit of open files",
      {{"error", std::strerror(error)}, {"suppressed", absl::StrCat(suppressed)}});
}

}  // namespace postrider
