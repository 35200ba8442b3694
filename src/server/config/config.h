#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "src/base/failure.h"
#include "src/http/server/http_server.h"

namespace postrider {

// What `postrider serve` is told. The defaults are those of the flags.
struct ServerConfig {
  std::string data_dir;
  std::string listen = "127.0.0.1:7411";
  std::string http_listen = "127.0.0.1:7412";
  std::vector<std::string> allow_networks;
  bool insecure = false;
  std::string tls_cert;
  std::string tls_key;
  std::string tls_client_ca;
  // 0: as many as the limit of open files allows; half of those.
  int grpc_max_connections = 0;
  int grpc_max_connections_per_peer = 0;
  int grpc_max_calls = 16384;
  uint64_t grpc_max_answer_bytes = uint64_t{256} << 20;
  absl::Duration grpc_handshake_timeout = absl::Seconds(10);
  absl::Duration drain_timeout = absl::Seconds(10);
  uint64_t max_notification_bytes = uint64_t{256} << 10;
  uint64_t max_outbox_bytes = uint64_t{16} << 30;
  uint64_t min_free_bytes = uint64_t{256} << 20;
  uint64_t max_attempt_bytes = uint64_t{2} << 30;
  uint64_t max_tenant_attempt_bytes = uint64_t{1} << 30;
  uint64_t max_queue_bytes = uint64_t{64} << 20;
  size_t max_queued_writes = 65536;
  size_t max_queued_reads = 1024;
  absl::Duration retention = absl::Hours(7 * 24);
  int pump_threads = 1;
  HttpServerLimits http_limits;
  std::string log_level = "info";
  std::string log_format = "text";

  bool tls() const { return !tls_cert.empty(); }
};

// Half of the processors, since the writer, the readers and the calls want some, too; but two of
// two or three, since one pump would leave the second one idle for half of the time that it
// delivers a backlog (docs/performance.md). 0 stands for an unknown number.
int DefaultPumpThreads(int processors);

// One flag, and what decided its value.
struct Setting {
  std::string flag;
  std::string value;
  // "flag", the environment variable, or the file with its line; empty for a default.
  std::string source;
};

// The flags of `serve`, bound to a ServerConfig. What the command line does not set is taken from
// the environment (POSTRIDER_DATA_DIR for --data-dir), and what that does not set from the file
// that --config names, which is TOML with the flags' names as keys.
class ServeFlags {
 public:
  // Adds `serve` to the program. `root` owns what is added and must be parsed before Finish.
  explicit ServeFlags(CLI::App& root);
  ServeFlags(const ServeFlags&) = delete;
  ServeFlags& operator=(const ServeFlags&) = delete;

  // The caller has asked for `serve`.
  bool parsed() const { return serve_->parsed(); }

  // Takes in the environment (as `NAME=value` lines) and the file, and checks the whole. A Failure
  // names the flag, the variable or the key and its file. Nothing is opened but the file.
  std::optional<Failure> Finish(const std::vector<std::string>& environment);

  // REQUIRES: Finish has found no failure, here and below.
  // All flags but --config's content.
  std::vector<Setting> settings() const;
  // Variables that looked like Kubernetes', and were passed over.
  const std::vector<std::string>& passed_over() const { return passed_over_; }
  const ServerConfig& config() const { return config_; }

 private:
  void AddDuration(const std::string& name, absl::Duration* target, const std::string& shown,
                   const std::string& help);
  void AddHttpLimits();
  void AddSize(const std::string& name, uint64_t* target, const std::string& shown,
               const std::string& help);
  std::optional<Failure> ApplyEnvironment(const std::vector<std::string>& environment);
  std::optional<Failure> ApplyFile();
  std::optional<Failure> Check() const;

  CLI::App& root_;
  CLI::App* serve_;
  ServerConfig config_;
  std::string config_path_;
  // By flag; what stands on the command line is not in it.
  std::map<std::string, std::string> sources_;
  std::vector<std::string> passed_over_;
  uint64_t http_max_header_bytes_ = HttpServerLimits().max_header_bytes;
  uint64_t http_max_held_bytes_ = HttpServerLimits().max_held_bytes;
};

// The variables of this process, as ServeFlags::Finish takes them.
std::vector<std::string> ProcessEnvironment();

}  // namespace postrider
