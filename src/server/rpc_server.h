#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "src/server/config.h"
#include "src/server/exit_codes.h"
#include "src/server/units.h"

namespace grpc {
class Server;
}

namespace postrider {

class CallQueue;
class HealthService;
class QueuedService;
class TlsCertificates;

// The listening gRPC server with reflection and the health service, which says NOT_SERVING until it
// is told otherwise. Thread-safe, but for Shutdown.
class RpcServer {
 public:
  // Listens on config.listen; the services must outlive it.
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

  // With the real port.
  const HostPort& address() const { return address_; }

 private:
  using Queues = std::vector<std::unique_ptr<CallQueue>>;

  RpcServer(std::unique_ptr<TlsCertificates> certificates, std::unique_ptr<HealthService> health,
            Queues queues, std::unique_ptr<grpc::Server> server, HostPort address);

  // Goes last: handshakes ask for it.
  const std::unique_ptr<TlsCertificates> certificates_;
  const std::unique_ptr<HealthService> health_;
  const Queues queues_;
  // Goes before the queues, which serve it to its end.
  const std::unique_ptr<grpc::Server> server_;
  const HostPort address_;
};

}  // namespace postrider
