#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "src/base/failure.h"
#include "src/base/host_port.h"
#include "src/server/config/config.h"

namespace grpc {
class Server;
}

namespace postrider {

class Acceptor;
class CallQueue;
class CallerConnections;
class HealthService;
class QueuedService;
class ReflectionService;
class TlsCertificates;

// The listening gRPC server with reflection and the health service, which says NOT_SERVING until it
// is told otherwise. Its connections come from an Acceptor of its own. Thread-safe, but for
// Shutdown.
class RpcServer {
 public:
  // Listens on config.listen; the services must outlive it. As many connections as the flags say:
  // where these say 0, 4,096, and half of all of one peer.
  static std::variant<std::unique_ptr<RpcServer>, Failure> Start(
      const ServerConfig& config, const std::vector<QueuedService*>& services);

  // REQUIRES: Shutdown was called.
  ~RpcServer();
  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  // What the health service says, of the whole and of each service.
  void SetServing(bool serving);

  // Reads the files of TLS again, for the connections from now on. INVALID_ARGUMENT says what is
  // wrong with them; then the old ones stay.
  absl::Status ReloadCertificates();

  // Takes no more calls, waits for those under way and cancels them when the time is over. The
  // handlers must answer all the same before this returns. Idempotent.
  void Shutdown(absl::Duration timeout);

  // A new caller gets in: there are fewer connections than there may be, and descriptors are left.
  bool CanAccept() const;

  const CallerConnections& connections() const { return *connections_; }

  // With the real port.
  const HostPort& address() const;

 private:
  using Queues = std::vector<std::unique_ptr<CallQueue>>;

  struct Parts;
  explicit RpcServer(Parts parts);

  // Waits for gRPC to be done with everything, when nobody else in the process uses it: what it
  // frees on threads of its own would meet OpenSSL's end at the process's.
  struct AfterAll {
    AfterAll() = default;
    AfterAll(const AfterAll&) = delete;
    AfterAll& operator=(const AfterAll&) = delete;
    ~AfterAll();
  };
  // The last to go.
  const AfterAll after_all_;
  // Handshakes ask for it.
  const std::unique_ptr<TlsCertificates> certificates_;
  // Outlives the server, whose last connections go after it.
  const std::shared_ptr<CallerConnections> connections_;
  const std::unique_ptr<HealthService> health_;
  const std::unique_ptr<ReflectionService> reflection_;
  const Queues queues_;
  // Goes before the queues, which serve it to its end.
  const std::unique_ptr<grpc::Server> server_;
  const std::unique_ptr<Acceptor> acceptor_;
};

}  // namespace postrider
