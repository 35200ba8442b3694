#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "src/base/failure.h"
#include "src/base/host_port.h"
#include "src/server/config/config.h"

namespace postrider {

// The whole server, wired up: the one place that names the concrete clock, outbox, transport and
// loops. It has no signals and no exit in it, so a test runs it in its own process.
//
//   Start --> serving --BeginDrain--> draining --(idle or Abandon)--> Stop --> nothing is left
//
// The methods are called by one thread, the owner's. Stop may come at any time after Start and is
// idempotent; the destructor calls it.
class App {
 public:
  // Something has happened that the owner should look at: `idle` or `failure` may have changed.
  // Called on any thread; must be quick.
  using Notify = std::function<void()>;

  // Binds the sockets, opens the outbox, loads the webhooks and begins to serve and to deliver.
  // Returns when all of that is done.
  static std::variant<std::unique_ptr<App>, Failure> Start(const ServerConfig& config,
                                                           Notify notify);
  ~App();
  App(const App&) = delete;
  App& operator=(const App&) = delete;

  // With the real ports.
  HostPort grpc_address() const;
  HostPort http_address() const;

  // Reads again what may be renewed while it serves: gRPC's certificates, and who answers for
  // names. What cannot be used is logged, and changes nothing.
  void Reload();

  // NOT_SERVING; no more publishes; nothing new is sent, what is under way ends.
  void BeginDrain();
  // After BeginDrain: nothing is under way, and every outcome is on disk.
  bool idle() const;
  // Breaks off what is under way; it stays owed.
  void Abandon();
  // The disk failed or the database is corrupt, and the process must end; nothing while all is
  // well.
  std::optional<Failure> disk_failure() const;

  // Ends everything, in order, without waiting for receivers.
  void Stop();

 private:
  struct Impl;
  explicit App(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace postrider
