#include "tools/benchmark/bench.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/benchmark/environment.h"
#include "tools/benchmark/message.h"

namespace postrider::bench {
namespace {

constexpr int kClientThreads[] = {1, 2};

}  // namespace

Scale Scale::Quick() {
  Scale scale;
  scale.warm_up_s = 0.1;
  scale.measure_s = 0.3;
  scale.bare_s = 0.2;
  scale.drain_owed = 3000;
  scale.sweep_requests = 300;
  scale.many_webhooks = 100;
  scale.latency_samples = 100;
  scale.idle_samples = 2;
  scale.idle_bare_samples = 2;
  scale.backlog_large = 10'000;
  scale.backlog_small = 1000;
  scale.backlog_measured = 3000;
  scale.backlog_small_times = 1;
  scale.isolation_warm_up_s = 0.2;
  scale.isolation_s = 0.5;
  scale.tenants = 50;
  scale.webhooks_per_tenant = 10;
  return scale;
}

Bench::Bench(std::string server_binary, std::string scratch, const Scale& scale, Sink& sink,
             Report& report)
    : server_binary_(std::move(server_binary)),
      scratch_(std::move(scratch)),
      scale_(scale),
      sink_(sink),
      report_(report) {}

std::string Bench::NewDir(const std::string& name) {
  return absl::StrCat(scratch_, "/", name, "-", ++dirs_);
}

void Bench::RemoveDir(const std::string& dir) { std::filesystem::remove_all(dir); }

void Bench::ChooseGrpc() {
  if (client_threads_ > 0) return;
  double best = 0;
  for (const GrpcModel model : {GrpcModel::kCompletionQueues, GrpcModel::kCallbacks}) {
    for (const int threads : kClientThreads) {
      BareGrpcServer server(model, NewDir("bare-grpc") + ".log");
      const PublishLoad load(LoadWith(server.address(), threads));
      const Rate rate = MeasureRate([&] { return load.published(); }, server.process(),
                                    scale_.warm_up_s, scale_.bare_s);
      report_.Note(absl::StrCat("bare gRPC, ", Name(model), ", client threads ", threads),
                   absl::StrFormat("%.0f calls/s, %.1f us of processor each", rate.per_second,
                                   rate.cpu_us_each));
      if (rate.per_second <= best) continue;
      best = rate.per_second;
      model_ = model;
      client_threads_ = threads;
    }
  }
  report_.Note("bare gRPC", absl::StrCat(Name(model_), " and ", client_threads_,
                                         " threads of the client were chosen"));
}

BareGrpcServer Bench::StartBareGrpc() {
  ChooseGrpc();
  return StartBareGrpc(model_);
}

BareGrpcServer Bench::StartBareGrpc(GrpcModel model) {
  return BareGrpcServer(model, NewDir("bare-grpc") + ".log");
}

PublishLoadOptions Bench::LoadWith(const std::string& address, int threads) {
  PublishLoadOptions options;
  options.address = address;
  options.threads = threads;
  options.requests = {PublishRequest("", 0)};
  return options;
}

PublishLoadOptions Bench::LoadOf(const std::string& address) {
  ChooseGrpc();
  return LoadWith(address, client_threads_);
}

Rate MeasureRate(const std::function<int64_t()>& count, const ChildProcess& process,
                 double warm_up_s, double seconds) {
  SleepUntilNs(NowNs() + static_cast<int64_t>(warm_up_s * 1e9));
  const int64_t start_ns = NowNs();
  const int64_t start_count = count();
  const int64_t start_cpu_ns = process.CpuNs();
  SleepUntilNs(start_ns + static_cast<int64_t>(seconds * 1e9));
  const int64_t cpu_ns = process.CpuNs() - start_cpu_ns;
  const auto counted = static_cast<double>(count() - start_count);
  const auto took_ns = static_cast<double>(NowNs() - start_ns);
  if (counted <= 0) Fail("nothing happened while it was measured");
  return {counted * 1e9 / took_ns, static_cast<double>(cpu_ns) / 1e3 / counted};
}

double PercentileMs(const std::vector<int64_t>& sorted_ns, double percent) {
  if (sorted_ns.empty()) Fail("there is no sample to take a percentile of");
  // The nearest rank.
  const auto rank =
      static_cast<size_t>(std::ceil(percent / 100 * static_cast<double>(sorted_ns.size())));
  return static_cast<double>(sorted_ns[std::max<size_t>(rank, 1) - 1]) / 1e6;
}

const std::vector<ScenarioEntry>& Scenarios() {
  static const auto* const scenarios = new std::vector<ScenarioEntry>{
      {"publish", absl::Minutes(3), &MakePublish},
      {"publish_batch", absl::Minutes(3), &MakePublishBatch},
      {"drain", absl::Minutes(5), &MakeDrain},
      {"drain_many", absl::Minutes(5), &MakeDrainMany},
      {"end_to_end", absl::Minutes(3), &MakeEndToEnd},
      {"latency_ms", absl::Minutes(3), &MakeLatency},
      {"latency_idle_ms", absl::Minutes(5), &MakeLatencyIdle},
      {"backlog", absl::Minutes(10), &MakeBacklog, "start"},
      {"isolation", absl::Minutes(5), &MakeIsolation},
      {"webhooks", absl::Minutes(5), &MakeWebhooks},
      {"grpc_api", absl::Minutes(3), &MakeGrpcApi},
  };
  return *scenarios;
}

}  // namespace postrider::bench
