#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tools/benchmark/backlog.h"
#include "tools/benchmark/bench.h"
#include "tools/benchmark/message.h"
#include "tools/benchmark/row_cloner.h"
#include "tools/benchmark/server_process.h"

// Whether publishing becomes slower with the number of webhooks. Notifications go to all tenants in
// turn, and each is owed to one webhook of its tenant; the others are enabled and want other types.
// A rate limit keeps all but a webhook's first delivery from being made meanwhile.

namespace postrider::bench {
namespace {

constexpr double kDeliveriesPerSecond = 0.0001;
constexpr int kFewTenants = 10;

std::string TenantName(int number) { return absl::StrCat("tenant-", number); }

void MakeWebhooks(Bench& bench, const std::string& dir, int tenants, int per_tenant) {
  {
    ServerProcess server(bench.server_binary(), dir);
    server.Configure({"bench-0",
                      bench.sink().HealthyUrl(0),
                      {NotificationType(9999)},
                      /*max_concurrency=*/16,
                      kDeliveriesPerSecond});
  }
  const SqlitePtr db = OpenSqlite(DatabasePath(dir));
  ExecSqlite(db.get(), "PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE");
  {
    RowCloner tenant(db.get(), "tenant", "id = 1");
    WebhookCloner webhooks(db.get());
    int64_t id = 1;
    for (int t = 0; t < tenants; ++t) {
      const std::string tenant_name = TenantName(t);
      tenant.Set(tenant.Column("id"), int64_t{t} + 2);
      tenant.Set(tenant.Column("name"), tenant_name);
      tenant.Insert();
      for (int w = 0; w < per_tenant; ++w) {
        ++id;
        webhooks.Insert({id, int64_t{t} + 2, absl::StrCat("bench-", w),
                         bench.sink().HealthyUrl(static_cast<int>(id)), NotificationType(w)});
      }
    }
  }
  ExecSqlite(db.get(), "COMMIT");
  // The server was killed, and its log is copied here. An older schema does not have the mark.
  sqlite3_exec(db.get(), "UPDATE meta SET in_use = 0", nullptr, nullptr, nullptr);
  ExecSqlite(db.get(), "PRAGMA wal_checkpoint(TRUNCATE)");
}

class Webhooks final : public Scenario {
  void Run(Bench& bench) override {
    const Scale& scale = bench.scale();
    if (many_.empty()) {
      few_ = bench.NewDir("webhooks-few");
      MakeWebhooks(bench, few_, kFewTenants, 1);
      many_ = bench.NewDir("webhooks-many");
      MakeWebhooks(bench, many_, scale.tenants, scale.webhooks_per_tenant);
    }
    const double few = PublishingTo(bench, few_, kFewTenants);
    const double many = PublishingTo(bench, many_, scale.tenants);
    Report& report = bench.report();
    report.Add("webhooks.flatness", many / few);
    report.Add("webhooks.many_per_second", many);
    report.Add("webhooks.few_per_second", few);
  }

  static double PublishingTo(Bench& bench, const std::string& from, int tenants) {
    const std::string dir = bench.NewDir("webhooks");
    CopyDataDir(from, dir);
    Rate rate;
    {
      ServerProcess server(bench.server_binary(), dir);
      // Fails when it is not owed to exactly one.
      server.Publish(PublishRequest(TenantName(0), 0));
      PublishLoadOptions options = bench.LoadOf(server.grpc_address());
      options.requests.clear();
      for (int t = 0; t < tenants; ++t) {
        options.requests.push_back(PublishRequest(TenantName(t), 0));
      }
      const PublishLoad load(options);
      rate = MeasureRate([&] { return load.published(); }, server.process(),
                         bench.scale().warm_up_s, bench.scale().measure_s);
    }
    bench.RemoveDir(dir);
    return rate.per_second;
  }

  std::string few_;
  std::string many_;
};

}  // namespace

std::unique_ptr<Scenario> MakeWebhooks() { return std::make_unique<Webhooks>(); }

}  // namespace postrider::bench
