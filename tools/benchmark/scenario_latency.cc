#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tools/benchmark/bare_curl.h"
#include "tools/benchmark/bench.h"
#include "tools/benchmark/environment.h"
#include "tools/benchmark/message.h"
#include "tools/benchmark/server_process.h"

// How long a notification takes from the publisher's send to the receiver's first byte, when there
// is little to do. The calls are sent by the clock, whether or not the ones before were answered.

namespace postrider::bench {
namespace {

constexpr int64_t kBusyApartNs = 5'000'000;
constexpr int64_t kIdleApartNs = 1'000'000'000;
constexpr int kWarmUpCalls = 20;
constexpr int64_t kArrivalTimeoutNs = 30'000'000'000;

// Times that are `apart_ns` apart, each up to `jitter_ns` later, so that they do not keep step with
// what happens at intervals elsewhere.
std::vector<int64_t> Schedule(int count, int64_t apart_ns, int64_t jitter_ns) {
  static std::mt19937_64 random(20260131);
  std::vector<int64_t> times_ns;
  int64_t time_ns = NowNs();
  for (int i = 0; i < count; ++i) {
    time_ns += apart_ns;
    times_ns.push_back(time_ns + static_cast<int64_t>(random() % static_cast<uint64_t>(jitter_ns)));
  }
  return times_ns;
}

std::vector<int64_t> Busy(int count) { return Schedule(count, kBusyApartNs, 1'000'000); }
std::vector<int64_t> Idle(int count) { return Schedule(count, kIdleApartNs, 100'000'000); }

struct Latency {
  std::vector<int64_t> delivery_ns;
  std::vector<int64_t> answer_ns;
};

Latency MeasurePostrider(Bench& bench, int count,
                         const std::function<std::vector<int64_t>(int)>& schedule) {
  Sink& sink = bench.sink();
  const std::string dir = bench.NewDir("latency");
  Latency latency;
  {
    ServerProcess server(bench.server_binary(), dir);
    server.Configure({"bench-0", sink.HealthyUrl(0), {NotificationType(0)}});
    const v1::PublishNotificationRequest request = PublishRequest("", 0);
    sink.Restart();
    PublishAt(server.grpc_address(), request, Busy(kWarmUpCalls));
    sink.WaitForDeliveries(kWarmUpCalls, kArrivalTimeoutNs);
    sink.Record(true);
    latency.answer_ns = PublishAt(server.grpc_address(), request, schedule(count));
    sink.WaitForDeliveries(kWarmUpCalls + count, kArrivalTimeoutNs);
    latency.delivery_ns = sink.Samples();
    sink.Record(false);
  }
  if (latency.delivery_ns.size() != static_cast<size_t>(count)) Fail("a sample is missing");
  bench.RemoveDir(dir);
  return latency;
}

// What a commit of one publish costs the disk: some pages behind the end of a file, and a sync.
std::vector<int64_t> BareSyncs(const std::string& path, const std::vector<int64_t>& times_ns) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) Fail(absl::StrCat(path, " cannot be made: ", std::strerror(errno)));
  const std::string pages(size_t{6} * 4120, 'x');
  std::vector<int64_t> took_ns;
  for (const int64_t time_ns : times_ns) {
    SleepUntilNs(time_ns);
    const int64_t start_ns = NowNs();
    if (write(fd, pages.data(), pages.size()) != static_cast<ssize_t>(pages.size()) ||
        fdatasync(fd) != 0) {
      Fail(absl::StrCat(path, " cannot be written: ", std::strerror(errno)));
    }
    took_ns.push_back(NowNs() - start_ns);
  }
  close(fd);
  std::sort(took_ns.begin(), took_ns.end());
  return took_ns;
}

class AtTwoHundredPerSecond final : public Scenario {
  void Run(Bench& bench) override {
    const int count = bench.scale().latency_samples;
    std::vector<int64_t> grpc_ns;
    {
      BareGrpcServer server = bench.StartBareGrpc();
      PublishAt(server.address(), PublishRequest("", 0), Busy(kWarmUpCalls));
      grpc_ns = PublishAt(server.address(), PublishRequest("", 0), Busy(count / 2));
    }
    const Latency postrider = MeasurePostrider(bench, count, &Busy);
    const std::vector<int64_t> http_ns =
        BareHttpRoundTrips(bench.sink().HealthyUrl(0), Busy(count / 2));
    Report& report = bench.report();
    report.Add("latency_ms.p50", PercentileMs(postrider.delivery_ns, 50));
    report.Add("latency_ms.p99", PercentileMs(postrider.delivery_ns, 99));
    report.Add("latency_ms.max", PercentileMs(postrider.delivery_ns, 100));
    report.Add("latency_ms.publish_answer_p50", PercentileMs(postrider.answer_ns, 50));
    report.Add("latency_ms.publish_answer_p99", PercentileMs(postrider.answer_ns, 99));
    report.Add("latency_ms.bare_grpc_p50", PercentileMs(grpc_ns, 50));
    report.Add("latency_ms.bare_grpc_p99", PercentileMs(grpc_ns, 99));
    report.Add("latency_ms.bare_http_p50", PercentileMs(http_ns, 50));
    report.Add("latency_ms.bare_http_p99", PercentileMs(http_ns, 99));
  }
};

class AtOnePerSecond final : public Scenario {
  void Run(Bench& bench) override {
    const Latency postrider = MeasurePostrider(bench, bench.scale().idle_samples, &Idle);
    Report& report = bench.report();
    report.Add("latency_idle_ms.p99", PercentileMs(postrider.delivery_ns, 99));
    report.Add("latency_idle_ms.p50", PercentileMs(postrider.delivery_ns, 50));
    report.Add("latency_idle_ms.publish_answer_p99", PercentileMs(postrider.answer_ns, 99));
    MeasureBare(bench);
  }

  // The parts on their own, each once a second: what an idle machine takes for them.
  static void MeasureBare(Bench& bench) {
    const int count = bench.scale().idle_bare_samples;
    const std::string dir = bench.NewDir("latency-bare");
    BareGrpcServer server = bench.StartBareGrpc();
    const std::vector<int64_t> times_ns = Idle(count);
    const auto later = [&times_ns](int64_t ns) {
      std::vector<int64_t> moved_ns = times_ns;
      for (int64_t& time_ns : moved_ns) time_ns += ns;
      return moved_ns;
    };
    std::vector<int64_t> grpc_ns;
    std::vector<int64_t> sync_ns;
    std::thread grpc(
        [&] { grpc_ns = PublishAt(server.address(), PublishRequest("", 0), times_ns); });
    std::thread sync([&] { sync_ns = BareSyncs(dir + ".sync", later(kIdleApartNs / 3)); });
    const std::vector<int64_t> http_ns =
        BareHttpRoundTrips(bench.sink().HealthyUrl(0), later(kIdleApartNs / 3 * 2));
    grpc.join();
    sync.join();
    Report& report = bench.report();
    for (const int percent : {50, 99}) {
      report.Add(absl::StrCat("latency_idle_ms.bare_grpc_p", percent),
                 PercentileMs(grpc_ns, percent));
      report.Add(absl::StrCat("latency_idle_ms.bare_sync_p", percent),
                 PercentileMs(sync_ns, percent));
      report.Add(absl::StrCat("latency_idle_ms.bare_http_p", percent),
                 PercentileMs(http_ns, percent));
    }
  }
};

}  // namespace

std::unique_ptr<Scenario> MakeLatency() { return std::make_unique<AtTwoHundredPerSecond>(); }
std::unique_ptr<Scenario> MakeLatencyIdle() { return std::make_unique<AtOnePerSecond>(); }

}  // namespace postrider::bench
