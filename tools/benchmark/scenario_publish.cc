#include <memory>

#include "tools/benchmark/backlog.h"
#include "tools/benchmark/bare_sqlite.h"
#include "tools/benchmark/bench.h"
#include "tools/benchmark/message.h"
#include "tools/benchmark/server_process.h"

// How fast notifications are taken. The webhook's receiver takes requests and does not answer, so
// each publish writes a notification and a delivery, and next to nothing is delivered meanwhile.

namespace postrider::bench {
namespace {

constexpr int kBatch = 100;
constexpr int kBatchesInFlight = 16;

Rate MeasurePublishing(Bench& bench, const std::function<void(PublishLoadOptions&)>& adjust) {
  const std::string dir = bench.NewDir("publish");
  Rate rate;
  {
    ServerProcess server(bench.server_binary(), dir);
    server.Configure({"bench-0", bench.sink().HealthyUrl(0), {NotificationType(0)}});
    bench.sink().SetHang(true);
    PublishLoadOptions options = bench.LoadOf(server.grpc_address());
    adjust(options);
    const PublishLoad load(options);
    rate = MeasureRate([&] { return load.published(); }, server.process(), bench.scale().warm_up_s,
                       bench.scale().measure_s);
  }
  bench.sink().SetHang(false);
  bench.RemoveDir(dir);
  return rate;
}

class Publish final : public Scenario {
  void Run(Bench& bench) override {
    Rate bare;
    {
      BareGrpcServer server = bench.StartBareGrpc();
      const PublishLoad load(bench.LoadOf(server.address()));
      bare = MeasureRate([&] { return load.published(); }, server.process(),
                         bench.scale().warm_up_s, bench.scale().measure_s);
    }
    const Rate postrider = MeasurePublishing(bench, [](PublishLoadOptions&) {});
    bench.report().Add("publish.ratio", postrider.per_second / bare.per_second);
    bench.report().Add("publish.postrider_per_second", postrider.per_second);
    bench.report().Add("publish.postrider_cpu_us", postrider.cpu_us_each);
    bench.report().Add("publish.bare_grpc_per_second", bare.per_second);
    bench.report().Add("publish.bare_grpc_cpu_us", bare.cpu_us_each);
  }
};

class PublishBatch final : public Scenario {
  void Run(Bench& bench) override {
    const std::string dir = bench.NewDir("sqlite");
    MakeOneOwed(bench.server_binary(), dir, bench.sink(), 16);
    RunBareSqlite(dir, bench.scale().warm_up_s);
    const BareSqliteResult bare = RunBareSqlite(dir, bench.scale().measure_s);
    bench.RemoveDir(dir);
    const Rate postrider = MeasurePublishing(bench, [](PublishLoadOptions& options) {
      options.batch = kBatch;
      options.in_flight = kBatchesInFlight;
    });
    bench.report().Add("publish_batch.ratio", postrider.per_second / bare.rows_per_second);
    bench.report().Add("publish_batch.postrider_per_second", postrider.per_second);
    bench.report().Add("publish_batch.postrider_cpu_us", postrider.cpu_us_each);
    bench.report().Add("publish_batch.bare_sqlite_per_second", bare.rows_per_second);
    bench.report().Add("publish_batch.bare_sqlite_cpu_us", bare.cpu_us_per_row);
  }
};

}  // namespace

std::unique_ptr<Scenario> MakePublish() { return std::make_unique<Publish>(); }
std::unique_ptr<Scenario> MakePublishBatch() { return std::make_unique<PublishBatch>(); }

}  // namespace postrider::bench
