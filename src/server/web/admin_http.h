#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "src/base/host_port.h"
#include "src/http/server/http_server.h"

namespace postrider {

// The HTTP side for those who watch: /metrics (Prometheus), /healthz (200 while the process lives)
// and /readyz (200 while notifications are taken, 503 otherwise). The last two are answered from
// the server's reserve, too.
class AdminHttp {
 public:
  struct Pages {
    // Rendered once for all that asked since it was rendered last.
    std::function<std::string()> metrics;
    // Both are called on the server's thread.
    std::function<bool()> ready;
  };

  // Listens, and answers from now on. UNAVAILABLE with a sentence when it cannot.
  static absl::StatusOr<std::unique_ptr<AdminHttp>> Start(const HostPort& address,
                                                          const HttpServerLimits& limits,
                                                          Pages pages);

  // Stops, and waits for the thread.
  ~AdminHttp();
  AdminHttp(const AdminHttp&) = delete;
  AdminHttp& operator=(const AdminHttp&) = delete;

  // Takes nothing new; answers that are under way get this long. Returns at once.
  void BeginStop(absl::Duration timeout);

  // Where it listens, with the real port.
  HostPort address() const;
  const HttpServerMetrics& metrics() const;

 private:
  class Impl;
  explicit AdminHttp(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace postrider
