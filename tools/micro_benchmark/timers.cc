#include <cstddef>
#include <cstdint>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

#include "benchmark/benchmark.h"
#include "src/base/random.h"
#include "src/delivery/timer_heap.h"

// The first of many timers is set to a later time, as it is after each turn of its webhook, next to
// the standard library's heap.

namespace postrider::micro {
namespace {

constexpr uint64_t kLatest = 1'000'000;

struct Sleeper {
  TimerSlot slot;
};

void Rearm(benchmark::State& state) {
  SeededRandom random(1);
  std::vector<Sleeper> sleepers(static_cast<size_t>(state.range(0)));
  TimerHeap<Sleeper, &Sleeper::slot> heap;
  for (Sleeper& sleeper : sleepers) {
    heap.Set(&sleeper, static_cast<int64_t>(random.Next() % kLatest));
  }
  for (auto _ : state) {
    heap.Set(heap.top(), heap.next() + static_cast<int64_t>(random.Next() % kLatest));
  }
}
BENCHMARK(Rearm)->Name("timers/timer_heap")->Arg(100)->Arg(100000);

void BareHeap(benchmark::State& state) {
  SeededRandom random(1);
  std::vector<Sleeper> sleepers(static_cast<size_t>(state.range(0)));
  using Entry = std::pair<int64_t, Sleeper*>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> heap;
  for (Sleeper& sleeper : sleepers) {
    heap.emplace(static_cast<int64_t>(random.Next() % kLatest), &sleeper);
  }
  for (auto _ : state) {
    const auto [at, sleeper] = heap.top();
    heap.pop();
    heap.emplace(at + static_cast<int64_t>(random.Next() % kLatest), sleeper);
  }
}
BENCHMARK(BareHeap)->Name("timers/bare_priority_queue")->Arg(100)->Arg(100000);

}  // namespace
}  // namespace postrider::micro
