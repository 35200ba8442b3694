#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tools/benchmark/backlog.h"
#include "tools/benchmark/bare_curl.h"
#include "tools/benchmark/bench.h"
#include "tools/benchmark/environment.h"
#include "tools/benchmark/server_process.h"

// How fast a backlog that is on disk when the server starts is delivered and recorded.

namespace postrider::bench {
namespace {

constexpr int64_t kDrainTimeoutNs = 120'000'000'000;
// Twice what serves the bare loop best: the receiver shares its processor with Postrider's writer,
// and more requests under way bridge the time that it waits for it.
constexpr int kWindowFactor = 2;

// From the first request's arrival until the last outcome is on disk.
Rate MeasureDrain(Bench& bench, const std::string& data_dir, int64_t owed) {
  bench.sink().Restart();
  ServerProcess server(bench.server_binary(), data_dir);
  bench.sink().WaitForDeliveries(owed, kDrainTimeoutNs);
  server.WaitForOutcomes(owed, kDrainTimeoutNs);
  const auto took_ns = static_cast<double>(NowNs() - bench.sink().first_ns());
  const auto cpu_ns = static_cast<double>(server.process().CpuNs());
  const auto count = static_cast<double>(owed);
  if (bench.sink().deliveries() != owed) Fail("the sink got more deliveries than were owed");
  return {count * 1e9 / took_ns, cpu_ns / 1e3 / count};
}

class Drain final : public Scenario {
 public:
  Drain(std::string name, bool many) : name_(std::move(name)), many_(many) {}

  void Run(Bench& bench) override {
    Prepare(bench);
    const int64_t owed = bench.scale().drain_owed;
    const BareCurlResult bare = RunBareCurl(urls_, window_, owed);
    const std::string dir = bench.NewDir("drain");
    CopyDataDir(template_, dir);
    const Rate postrider = MeasureDrain(bench, dir, owed);
    bench.RemoveDir(dir);
    Report& report = bench.report();
    report.Add(name_ + ".ratio", postrider.per_second / bare.requests_per_second);
    report.Add(name_ + ".postrider_per_second", postrider.per_second);
    report.Add(name_ + ".postrider_cpu_us", postrider.cpu_us_each);
    report.Add(name_ + ".bare_curl_per_second", bare.requests_per_second);
    report.Add(name_ + ".bare_curl_cpu_us", bare.cpu_us_per_request);
  }

 private:
  void Prepare(Bench& bench) {
    if (!template_.empty()) return;
    const int webhooks = many_ ? bench.scale().many_webhooks : 1;
    for (int i = 0; i < webhooks; ++i) urls_.push_back(bench.sink().HealthyUrl(i));
    window_ = bench.scale().window;
    if (window_ == 0) window_ = FindBestWindow(urls_, bench.scale().sweep_requests);
    bench.report().Note(
        name_,
        absl::StrCat("the bare loop has ", window_, " requests under way",
                     many_ ? "" : absl::StrCat("; Postrider may have ", kWindowFactor * window_)));
    template_ = bench.NewDir(name_ + "-template");
    BacklogSpec spec;
    spec.owed = bench.scale().drain_owed;
    spec.webhooks = webhooks;
    // Many webhooks have the default.
    if (!many_) spec.max_concurrency = kWindowFactor * window_;
    MakeBacklog(bench.server_binary(), template_, bench.sink(), spec);
  }

  const std::string name_;
  const bool many_;
  std::vector<std::string> urls_;
  int window_ = 0;
  std::string template_;
};

}  // namespace

std::unique_ptr<Scenario> MakeDrain() { return std::make_unique<Drain>("drain", false); }
std::unique_ptr<Scenario> MakeDrainMany() { return std::make_unique<Drain>("drain_many", true); }

}  // namespace postrider::bench
