#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/e2e/process.h"
#include "tests/support/scratch_dir.h"

namespace postrider {

struct HttpAnswer {
  int status = 0;
  std::string body;
};

// `postrider serve` as a process of its own, on ports that it picks itself, with a data directory
// that is removed at the end. It can be ended and started again on the same directory any number of
// times. Receivers on loopback are allowed.
//
// Belongs to one thread, as Process does.
class ServerProcess {
 public:
  ServerProcess() = default;
  ~ServerProcess() = default;

  // What every start from now on is given beside what is said above.
  std::vector<std::string> flags;
  std::vector<std::string> environment;
  std::function<void()> before_exec;

  // Starts it and waits until it is ready. Fails the test, and returns false, when it does not get
  // that far.
  bool Start();
  // Starts it and returns at once. Ready waits for the rest.
  void Launch();
  bool Ready();

  // SIGKILL. Returns when the process is gone.
  void Kill();
  // SIGTERM, then waits for the exit code, which is returned. Fails the test when it does not end.
  int Terminate();

  // REQUIRES: it was launched.
  Process& process() { return *process_; }
  // Of the last start that got ready.
  const std::string& grpc_address() const { return grpc_address_; }
  const std::string& http_address() const { return http_address_; }
  // From the admin HTTP. Nothing when there is no answer.
  int http_port() const;
  std::optional<HttpAnswer> Get(const std::string& path) const;
  const std::string& ready_line() const { return ready_line_; }

  const std::string& data_dir() const { return dir_.path(); }
  std::string database() const { return dir_.File("outbox.db"); }

  // The arguments of `postrider` for a server on that directory: what every ServerProcess is given.
  static std::vector<std::string> Arguments(const std::string& data_dir);

 private:
  ScratchDir dir_;
  std::unique_ptr<Process> process_;
  std::string ready_line_;
  std::string grpc_address_;
  std::string http_address_;
};

}  // namespace postrider
