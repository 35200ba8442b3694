#include <memory>

#include "tools/benchmark/bench.h"

// What gRPC's two APIs for servers cost when answers come later from another thread, as Postrider's
// do: a completion queue with one polling thread (Postrider has one for each of its queues) against
// callbacks. They take turns, so that the machine's moods meet both.

namespace postrider::bench {
namespace {

constexpr int kTurns = 3;

class GrpcApi final : public Scenario {
  void Run(Bench& bench) override {
    Rate queue;
    Rate callbacks;
    for (int turn = 0; turn < kTurns; ++turn) {
      Add(Measure(bench, GrpcModel::kOneQueueLater), &queue);
      Add(Measure(bench, GrpcModel::kCallbacksLater), &callbacks);
    }
    bench.report().Add("grpc_api.cpu_ratio", queue.cpu_us_each / callbacks.cpu_us_each);
    bench.report().Add("grpc_api.queue_cpu_us", queue.cpu_us_each);
    bench.report().Add("grpc_api.callbacks_cpu_us", callbacks.cpu_us_each);
    bench.report().Add("grpc_api.queue_per_second", queue.per_second);
    bench.report().Add("grpc_api.callbacks_per_second", callbacks.per_second);
  }

  static Rate Measure(Bench& bench, GrpcModel model) {
    BareGrpcServer server = bench.StartBareGrpc(model);
    const PublishLoad load(bench.LoadOf(server.address()));
    return MeasureRate([&] { return load.published(); }, server.process(),
                       bench.scale().warm_up_s, bench.scale().bare_s);
  }

  // The mean of the turns.
  static void Add(const Rate& rate, Rate* mean) {
    mean->per_second += rate.per_second / kTurns;
    mean->cpu_us_each += rate.cpu_us_each / kTurns;
  }
};

}  // namespace

std::unique_ptr<Scenario> MakeGrpcApi() { return std::make_unique<GrpcApi>(); }

}  // namespace postrider::bench
