#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tools/benchmark/bare_grpc.h"
#include "tools/benchmark/publish_load.h"
#include "tools/benchmark/report.h"
#include "tools/benchmark/sink.h"

namespace postrider::bench {

// How much is done: as much as a figure needs, or just enough to see that the bench works.
struct Scale {
  double warm_up_s = 1;
  double measure_s = 5;
  double bare_s = 3;
  int64_t drain_owed = 200'000;
  int64_t sweep_requests = 40'000;
  // Requests under way in `drain` and `drain_many`; 0: as many as the bare loop is fastest with.
  int window = 0;
  int many_webhooks = 1000;
  int latency_samples = 3000;
  int idle_samples = 60;
  int idle_bare_samples = 20;
  int64_t backlog_large = 1'000'000;
  int64_t backlog_small = 10'000;
  int64_t backlog_measured = 200'000;
  int backlog_small_times = 5;
  double isolation_warm_up_s = 4;
  double isolation_s = 8;
  int tenants = 1000;
  int webhooks_per_tenant = 100;

  static Scale Full() { return {}; }
  static Scale Quick();
};

// What the scenarios share.
class Bench {
 public:
  Bench(std::string server_binary, std::string scratch, const Scale& scale, Sink& sink,
        Report& report);

  const std::string& server_binary() const { return server_binary_; }
  const Scale& scale() const { return scale_; }
  Sink& sink() { return sink_; }
  Report& report() { return report_; }

  // A path for a data directory, not there yet.
  std::string NewDir(const std::string& name);
  void RemoveDir(const std::string& dir);

  // The fastest that gRPC can be: measured once, over both server models and the threads of the
  // client. The same client then publishes to Postrider.
  BareGrpcServer StartBareGrpc();
  // One that takes and answers calls as `model` says.
  BareGrpcServer StartBareGrpc(GrpcModel model);
  // 256 calls in flight over 4 channels.
  PublishLoadOptions LoadOf(const std::string& address);

 private:
  void ChooseGrpc();
  static PublishLoadOptions LoadWith(const std::string& address, int threads);

  const std::string server_binary_;
  const std::string scratch_;
  const Scale scale_;
  Sink& sink_;
  Report& report_;
  int dirs_ = 0;
  GrpcModel model_ = GrpcModel::kCompletionQueues;
  // 0: not chosen yet.
  int client_threads_ = 0;
};

struct Rate {
  double per_second = 0;
  double cpu_us_each = 0;
};
// Of what `count` counts, over `seconds` after a warm-up, and what `process` needs for each.
Rate MeasureRate(const std::function<int64_t()>& count, const ChildProcess& process,
                 double warm_up_s, double seconds);

// In milliseconds, of sorted nanoseconds.
double PercentileMs(const std::vector<int64_t>& sorted_ns, double percent);

// One part of the bench: measures its keys once each time it is run, and may keep things between.
class Scenario {
 public:
  virtual ~Scenario() = default;
  virtual void Run(Bench& bench) = 0;
};

// What can be run: the keys' first parts, in the order of the table.
struct ScenarioEntry {
  const char* name;
  absl::Duration limit;
  std::unique_ptr<Scenario> (*make)();
  // Keys that it gives under other first parts.
  const char* other_name = "";
};
const std::vector<ScenarioEntry>& Scenarios();

std::unique_ptr<Scenario> MakePublish();
std::unique_ptr<Scenario> MakePublishBatch();
std::unique_ptr<Scenario> MakeDrain();
std::unique_ptr<Scenario> MakeDrainMany();
std::unique_ptr<Scenario> MakeEndToEnd();
std::unique_ptr<Scenario> MakeLatency();
std::unique_ptr<Scenario> MakeLatencyIdle();
std::unique_ptr<Scenario> MakeBacklog();
std::unique_ptr<Scenario> MakeIsolation();
std::unique_ptr<Scenario> MakeWebhooks();
std::unique_ptr<Scenario> MakeGrpcApi();

}  // namespace postrider::bench
