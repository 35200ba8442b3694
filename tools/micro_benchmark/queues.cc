#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "benchmark/benchmark.h"
#include "src/base/fair_queue.h"
#include "src/delivery/webhook_queue.h"
#include "tools/micro_benchmark/support.h"

// The queues that each call and each delivery goes through. One thread, so that nobody waits for
// the other.

namespace postrider::micro {
namespace {

constexpr int kTaken = 128;
constexpr int kQueuedPerWebhook = 4;
// From one webhook to the next, so that the processor cannot guess where its memory is.
constexpr size_t kStride = 7919;

using Call = std::unique_ptr<int64_t>;

std::vector<Call> MakeCalls() {
  std::vector<Call> calls;
  for (int64_t i = 0; i < kTaken; ++i) calls.push_back(std::make_unique<int64_t>(i));
  return calls;
}

// As the writer takes them: one by one, and says what each has cost.
void PushAndTakeInTurn(benchmark::State& state) {
  const auto owners = static_cast<size_t>(state.range(0));
  std::vector<std::string> names;
  for (size_t i = 0; i < owners; ++i) names.push_back("tenant-" + std::to_string(i));
  FairQueue<Call> queue(16 * kTaken, 16 * kTaken, 256);
  std::vector<Call> calls = MakeCalls();
  while (state.KeepRunningBatch(kTaken)) {
    for (size_t i = 0; i < calls.size(); ++i) queue.TryPush(names[i % owners], calls[i], 1, 1);
    for (Call& call : calls) {
      call = *queue.Take(/*own_first=*/true);
      queue.Charge(names[0], 1);
    }
  }
  Require(calls.size() == kTaken && calls.back() != nullptr, "the queue has lost a call");
}
BENCHMARK(PushAndTakeInTurn)->Name("queues/fair_queue")->Arg(1)->Arg(100);

void BareVector(benchmark::State& state) {
  std::vector<Call> queue;
  std::vector<Call> calls = MakeCalls();
  while (state.KeepRunningBatch(kTaken)) {
    for (Call& call : calls) {
      queue.push_back(std::move(call));
      benchmark::ClobberMemory();
    }
    calls.clear();
    calls.swap(queue);
  }
}
BENCHMARK(BareVector)->Name("queues/bare_vector");

// Each step, a webhook's first delivery is taken and done, and a later one comes in.
void TakeAndPush(benchmark::State& state) {
  const auto webhooks = static_cast<size_t>(state.range(0));
  std::vector<WebhookQueue> queues;
  for (size_t i = 0; i < webhooks; ++i) queues.emplace_back(true);
  std::deque<Item> items(webhooks * kQueuedPerWebhook);
  int64_t last_id = 0;
  for (Item& item : items) {
    item.key = {0, ++last_id};
    queues[static_cast<size_t>(last_id) % webhooks].Push(&item);
  }
  size_t next = 0;
  for (auto _ : state) {
    WebhookQueue& queue = queues[next];
    next = (next + kStride) % webhooks;
    Item* const item = queue.front();
    queue.Take(item);
    queue.Drop(item, 1);
    item->key = {0, ++last_id};
    queue.Push(item);
  }
  Require(queues[0].queued() == kQueuedPerWebhook, "the queue has lost a delivery");
}
BENCHMARK(TakeAndPush)->Name("queues/webhook_queue")->Arg(1)->Arg(10000);

void BareDeque(benchmark::State& state) {
  const auto webhooks = static_cast<size_t>(state.range(0));
  std::vector<std::deque<Item*>> queues(webhooks);
  std::deque<Item> items(webhooks * kQueuedPerWebhook);
  int64_t last_id = 0;
  for (Item& item : items) {
    item.key = {0, ++last_id};
    queues[static_cast<size_t>(last_id) % webhooks].push_back(&item);
  }
  size_t next = 0;
  for (auto _ : state) {
    std::deque<Item*>& queue = queues[next];
    next = (next + kStride) % webhooks;
    Item* const item = queue.front();
    queue.pop_front();
    item->key = {0, ++last_id};
    queue.push_back(item);
  }
}
BENCHMARK(BareDeque)->Name("queues/bare_deque")->Arg(1)->Arg(10000);

}  // namespace
}  // namespace postrider::micro
