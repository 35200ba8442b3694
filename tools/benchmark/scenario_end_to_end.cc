#include <memory>

#include "tools/benchmark/backlog.h"
#include "tools/benchmark/bare_curl.h"
#include "tools/benchmark/bare_sqlite.h"
#include "tools/benchmark/bench.h"
#include "tools/benchmark/message.h"
#include "tools/benchmark/server_process.h"

// Publishing and delivering at once, as fast as both go together: how much processor a notification
// costs on its whole way, against the sum of what gRPC, SQLite and libcurl cost alone.

namespace postrider::bench {
namespace {

// Published, but not delivered yet: beyond it publishing waits, so that no backlog grows.
constexpr int64_t kMaxUndelivered = 2000;
constexpr int kWindow = 32;
constexpr int64_t kBareRequestsPerSecond = 25'000;

Rate MeasurePostrider(Bench& bench) {
  Sink& sink = bench.sink();
  const std::string dir = bench.NewDir("end-to-end");
  Rate rate;
  {
    ServerProcess server(bench.server_binary(), dir);
    server.Configure({"bench-0", sink.HealthyUrl(0), {NotificationType(0)}, kWindow});
    sink.Restart();
    PublishLoadOptions options = bench.LoadOf(server.grpc_address());
    std::atomic<int64_t> allowed{0};
    options.may_send = [&sink, &allowed] {
      if (allowed.load(std::memory_order_relaxed) >= sink.deliveries() + kMaxUndelivered) {
        return false;
      }
      allowed.fetch_add(1, std::memory_order_relaxed);
      return true;
    };
    const PublishLoad load(options);
    rate = MeasureRate([&] { return sink.deliveries(); }, server.process(), bench.scale().warm_up_s,
                       bench.scale().measure_s);
  }
  bench.RemoveDir(dir);
  return rate;
}

class EndToEnd final : public Scenario {
  void Run(Bench& bench) override {
    const Scale& scale = bench.scale();
    Rate grpc;
    {
      BareGrpcServer server = bench.StartBareGrpc();
      const PublishLoad load(bench.LoadOf(server.address()));
      grpc = MeasureRate([&] { return load.published(); }, server.process(), scale.warm_up_s,
                         scale.bare_s);
    }
    const Rate postrider = MeasurePostrider(bench);
    const std::string dir = bench.NewDir("sqlite");
    MakeOneOwed(bench.server_binary(), dir, bench.sink(), kWindow);
    const BareSqliteResult sqlite = RunBareSqlite(dir, scale.bare_s);
    bench.RemoveDir(dir);
    const BareCurlResult curl =
        RunBareCurl({bench.sink().HealthyUrl(0)}, kWindow,
                    static_cast<int64_t>(scale.bare_s * kBareRequestsPerSecond));

    const double bare_us = grpc.cpu_us_each + sqlite.cpu_us_per_row + curl.cpu_us_per_request;
    Report& report = bench.report();
    report.Add("end_to_end.ratio", bare_us / postrider.cpu_us_each);
    report.Add("end_to_end.postrider_per_second", postrider.per_second);
    report.Add("end_to_end.postrider_cpu_us", postrider.cpu_us_each);
    report.Add("end_to_end.bare_grpc_cpu_us", grpc.cpu_us_each);
    report.Add("end_to_end.bare_sqlite_cpu_us", sqlite.cpu_us_per_row);
    report.Add("end_to_end.bare_curl_cpu_us", curl.cpu_us_per_request);
  }
};

}  // namespace

std::unique_ptr<Scenario> MakeEndToEnd() { return std::make_unique<EndToEnd>(); }

}  // namespace postrider::bench
