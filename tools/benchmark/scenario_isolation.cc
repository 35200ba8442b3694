#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tools/benchmark/bench.h"
#include "tools/benchmark/environment.h"
#include "tools/benchmark/message.h"
#include "tools/benchmark/server_process.h"

// What bad receivers cost good ones. Each notification goes to all webhooks: 90 healthy ones, and
// on one side ten bad ones more. First as many are published as the healthy ones can take; then
// half as many, by the clock, to see how long they are under way.

namespace postrider::bench {
namespace {

constexpr int kHealthy = 90;
constexpr int kSlow = 5;
// Deliveries to healthy webhooks that may be outstanding.
constexpr int64_t kMaxUndelivered = int64_t{40} * kHealthy;
constexpr int kCallsInFlight = 16;
constexpr int64_t kArrivalTimeoutNs = 60'000'000'000;

class Isolation final : public Scenario {
  void Run(Bench& bench) override {
    const Side without = Measure(bench, false, 0);
    const Side with = Measure(bench, true, without.published_per_second);
    Report& report = bench.report();
    report.Add("isolation.throughput", with.healthy_per_second / without.healthy_per_second);
    report.Add("isolation.p99", with.p99_ms / without.p99_ms);
    report.Add("isolation.healthy_per_second", with.healthy_per_second);
    report.Add("isolation.healthy_alone_per_second", without.healthy_per_second);
    report.Add("isolation.healthy_p99_ms", with.p99_ms);
    report.Add("isolation.healthy_alone_p99_ms", without.p99_ms);
    report.Add("isolation.published_per_second_for_p99", without.published_per_second);
  }

  struct Side {
    double healthy_per_second = 0;
    // By the clock, in the second part.
    double published_per_second = 0;
    double p99_ms = 0;
  };

  // `published_per_second`: 0 for half of what the first part gave.
  static Side Measure(Bench& bench, bool bad, double published_per_second) {
    Sink& sink = bench.sink();
    const std::string dir = bench.NewDir("isolation");
    Side side;
    {
      ServerProcess server(bench.server_binary(), dir);
      Configure(bench, server, bad);
      sink.Restart();
      side.healthy_per_second = Saturate(bench, server);
      side.published_per_second = published_per_second;
      if (published_per_second == 0) {
        side.published_per_second = side.healthy_per_second / kHealthy / 2;
      }
      side.p99_ms = MeasureP99(bench, server, side.published_per_second);
    }
    if (bad) {
      sink.SetBlackHoles(false);
      sink.SetSlow(false);
    }
    bench.RemoveDir(dir);
    return side;
  }

  // The bad ones turn bad when they are configured, since only what answers can be enabled.
  static void Configure(Bench& bench, ServerProcess& server, bool bad) {
    Sink& sink = bench.sink();
    for (int i = 0; i < kHealthy; ++i) {
      server.Configure({absl::StrCat("healthy-", i), sink.HealthyUrl(i)});
    }
    if (!bad) return;
    for (int i = 0; i < kSlow; ++i) server.Configure({absl::StrCat("slow-", i), sink.SlowUrl(i)});
    for (int i = 0; i < Sink::kBlackHoles; ++i) {
      server.Configure({absl::StrCat("hole-", i), sink.BlackHoleUrl(i)});
    }
    sink.SetSlow(true);
    sink.SetBlackHoles(true);
  }

  static double Saturate(Bench& bench, ServerProcess& server) {
    Sink& sink = bench.sink();
    std::atomic<int64_t> allowed{0};
    Rate rate;
    {
      PublishLoadOptions options = bench.LoadOf(server.grpc_address());
      options.in_flight = kCallsInFlight;
      options.may_send = [&sink, &allowed] {
        if (allowed.load() * kHealthy >= sink.deliveries() + kMaxUndelivered) return false;
        allowed.fetch_add(1);
        return true;
      };
      const PublishLoad load(options);
      rate = MeasureRate([&] { return sink.deliveries(); }, server.process(),
                         bench.scale().isolation_warm_up_s, bench.scale().isolation_s);
    }
    sink.WaitForDeliveries(allowed * kHealthy, kArrivalTimeoutNs);
    return rate.per_second;
  }

  static double MeasureP99(Bench& bench, ServerProcess& server, double per_second) {
    Sink& sink = bench.sink();
    const int count = std::max(10, static_cast<int>(per_second * bench.scale().isolation_s));
    std::vector<int64_t> times_ns;
    const int64_t start_ns = NowNs();
    for (int i = 1; i <= count; ++i) {
      times_ns.push_back(start_ns + static_cast<int64_t>(i * 1e9 / per_second));
    }
    const int64_t before = sink.deliveries();
    sink.Record(true);
    PublishAt(server.grpc_address(), PublishRequest("", 0), times_ns);
    sink.WaitForDeliveries(before + int64_t{count} * kHealthy, kArrivalTimeoutNs);
    const double p99_ms = PercentileMs(sink.Samples(), 99);
    sink.Record(false);
    return p99_ms;
  }
};

}  // namespace

std::unique_ptr<Scenario> MakeIsolation() { return std::make_unique<Isolation>(); }

}  // namespace postrider::bench
