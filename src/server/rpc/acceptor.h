#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "src/base/host_port.h"
#include "src/server/observe/logging.h"
#include "src/server/rpc/caller_connections.h"

namespace postrider {

// Listens, and hands on each connection that it accepts. gRPC 1.51's own listener is not used: it
// stops for good at the first accept that fails for want of a descriptor (CVE-2023-4785), and knows
// no bound on connections.
//
// When accept fails for want of a descriptor or memory, callers wait in the system's queue, and it
// is tried again ten times a second. What comes beyond the table's bounds is closed at once, so
// that a caller hears of it, and does not wait.
//
// Belongs to its owner's thread, but for CanAccept.
class Acceptor {
 public:
  // Takes the socket over: a non-blocking one that is in the table. On the acceptor's thread.
  using HandOver = std::function<void(int fd)>;
  // Called about once a second, on the acceptor's thread.
  using Tick = std::function<void()>;

  // Binds and listens on all addresses that the host stands for; port 0 picks one.
  // RESOURCE_EXHAUSTED when there are no descriptors, UNAVAILABLE with the reason when the address
  // cannot be had.
  static absl::StatusOr<std::unique_ptr<Acceptor>> Listen(const HostPort& address,
                                                          std::shared_ptr<CallerConnections> table);
  // Stops.
  ~Acceptor();
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  // With the real port.
  const HostPort& address() const { return address_; }

  // Begins to accept.
  void Start(HandOver hand_over, Tick tick);
  // Accepts nothing more and closes the listener: who waits in its queue is turned away.
  // Idempotent.
  void Stop();

  // A new caller gets in: there is room in the table, and there are descriptors. Thread-safe.
  bool CanAccept() const;

 private:
  Acceptor(std::shared_ptr<CallerConnections> table, HostPort address, std::vector<int> listeners,
           int wake);

  void Run();
  // False when there is no descriptor or memory for one more.
  bool AcceptAll(int listener);
  void Take(int fd, const sockaddr* address);
  void TellOfShortage(int error);

  const std::shared_ptr<CallerConnections> table_;
  const HostPort address_;
  std::vector<int> listeners_;
  const int wake_;
  HandOver hand_over_;
  Tick tick_;
  LogLimiter refusal_limiter_;
  LogLimiter shortage_limiter_;
  std::atomic<bool> starved_{false};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace postrider
