#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "src/server/units.h"

namespace postrider {

// The HTTP side for those who watch: /metrics (Prometheus), /healthz (200 while the process lives)
// and /readyz (200 while notifications are taken, 503 otherwise). A thread that accepts and a few
// that answer; connections beyond what they can take wait in the kernel's queue.
class AdminHttp {
 public:
  struct Pages {
    std::function<std::string()> metrics;
    // Both are called on the answering threads.
    std::function<bool()> ready;
  };

  // Listens, and answers from now on. UNAVAILABLE with a sentence when it cannot.
  static absl::StatusOr<std::unique_ptr<AdminHttp>> Start(const HostPort& address, Pages pages);

  // Stops and waits for the threads.
  ~AdminHttp();
  AdminHttp(const AdminHttp&) = delete;
  AdminHttp& operator=(const AdminHttp&) = delete;

  // Where it listens, with the real port.
  const HostPort& address() const { return address_; }

 private:
  struct Impl;
  AdminHttp(std::unique_ptr<Impl> impl, HostPort address);

  const std::unique_ptr<Impl> impl_;
  const HostPort address_;
};

}  // namespace postrider
