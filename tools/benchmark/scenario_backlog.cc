#include <unistd.h>

#include <memory>
#include <string>

#include "tools/benchmark/backlog.h"
#include "tools/benchmark/bench.h"
#include "tools/benchmark/environment.h"
#include "tools/benchmark/server_process.h"

// Whether a large backlog costs more than a small one: in the rate of its delivery, in memory, and
// until the server serves. The files are in the system's cache, since they were just made.

namespace postrider::bench {
namespace {

constexpr int kWindow = 32;
constexpr int64_t kTimeoutNs = 120'000'000'000;

struct Drained {
  int64_t count = 0;
  int64_t took_ns = 0;
  double ready_s = 0;
  double first_delivery_s = 0;
  double peak_rss_mib = 0;
};

class Backlog final : public Scenario {
  void Run(Bench& bench) override {
    Prepare(bench);
    const Scale& scale = bench.scale();
    Drained small;
    for (int i = 0; i < scale.backlog_small_times; ++i) {
      const Drained once = Drain(bench, small_, scale.backlog_small);
      small.count += once.count;
      small.took_ns += once.took_ns;
    }
    const Drained large = Drain(bench, large_, scale.backlog_measured);
    const auto rate = [](const Drained& drained) {
      return static_cast<double>(drained.count) * 1e9 / static_cast<double>(drained.took_ns);
    };
    Report& report = bench.report();
    report.Add("backlog.flatness", rate(large) / rate(small));
    report.Add("backlog.large_per_second", rate(large));
    report.Add("backlog.small_per_second", rate(small));
    report.Add("backlog.rss_mib", large.peak_rss_mib);
    report.Add("start.seconds_per_million", large.first_delivery_s);
    report.Add("start.seconds_per_million.ready", large.ready_s);
  }

  void Prepare(Bench& bench) {
    if (!large_.empty()) return;
    BacklogSpec spec;
    spec.max_concurrency = kWindow;
    spec.owed = bench.scale().backlog_small;
    small_ = bench.NewDir("backlog-small");
    MakeBacklog(bench.server_binary(), small_, bench.sink(), spec);
    spec.owed = bench.scale().backlog_large;
    large_ = bench.NewDir("backlog-large");
    MakeBacklog(bench.server_binary(), large_, bench.sink(), spec);
  }

  // The first `count` deliveries of what a copy of the directory owes.
  static Drained Drain(Bench& bench, const std::string& from, int64_t count) {
    Sink& sink = bench.sink();
    const std::string dir = bench.NewDir("backlog");
    CopyDataDir(from, dir);
    Drained drained;
    sink.Restart();
    {
      ServerProcess server(bench.server_binary(), dir);
      // The first connections are made at the start, which weighs more on a small backlog.
      sink.WaitForDeliveries(count / 10, kTimeoutNs);
      const int64_t before = sink.deliveries();
      const int64_t start_ns = NowNs();
      sink.WaitForDeliveries(count, kTimeoutNs);
      drained.count = sink.deliveries() - before;
      drained.took_ns = NowNs() - start_ns;
      drained.ready_s = static_cast<double>(server.start_to_ready_ns()) / 1e9;
      drained.first_delivery_s =
          static_cast<double>(sink.first_ns() - server.process().start_ns()) / 1e9;
      drained.peak_rss_mib = server.process().PeakRssMib();
    }
    bench.RemoveDir(dir);
    return drained;
  }

  std::string small_;
  std::string large_;
};

}  // namespace

std::unique_ptr<Scenario> MakeBacklog() { return std::make_unique<Backlog>(); }

}  // namespace postrider::bench
