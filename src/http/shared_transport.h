#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "src/base/executor.h"
#include "src/base/metrics.h"
#include "src/http/event_loop.h"
#include "src/http/transport.h"

namespace postrider {

// One thread's transport, helped by those of other threads. Nearly all that a delivery costs is
// spent in libcurl and the kernel, so what one busy webhook gets must not be bound by one thread.
//
// A receiver with few requests under way is served by the caller's thread alone: to hand a request
// over costs more than to wake up for it, and a second thread means connections of its own. Of a
// receiver with more, each request goes by the caller's thread or by its helper, whichever has less
// under way. The helper of a receiver is always the same one, so that connections are used again;
// there are up to twice as many of them as requests may be under way.
//
// Requests are handed over once a turn of the caller's loop, and what came of them once a turn of
// the helper's.
//
// All but Connect belongs to the thread of `home`. Let it be the last of its loop's Timed: what a
// turn hands over goes out at its end.
class SharedTransport final : public Transport, public EventLoop::Timed {
 public:
  // `home` runs closures on the thread that owns `own`; `handed_over` counts the requests that a
  // helper sends. They must outlive it.
  SharedTransport(Executor& home, Transport& own, Counter& handed_over);
  ~SharedTransport() override;

  // Lets each be helped by the others. REQUIRES: called once, before their loops run; none is
  // destroyed before the loops of all have ended.
  static void Connect(const std::vector<SharedTransport*>& all);

  void Send(TransferRequest request, Done done) override;
  // What a helper sends ends at once, too; but the helper goes on with it until its own transport
  // is told the same, and what comes of it is dropped.
  void CancelAll() override;

  void OnTurn() override;
  absl::Duration Deadline() const override { return absl::InfiniteDuration(); }

 private:
  class Lane;
  // A request under way, for this thread's caller.
  struct Slot {
    // Null while the slot is free.
    const HttpTarget* target = nullptr;
    Done done;
    // How often the slot was given back: what comes of an earlier request is void.
    uint32_t uses = 0;
  };

  // Who shall send one more request of this receiver; null for this thread.
  Lane* Choose(const HttpTarget* target, size_t under_way) const;
  uint32_t TakeSlot(const HttpTarget* target, Done done);
  void End(uint32_t slot, TransferResult result);
  void AddToLoad(int requests);

  Executor& home_;
  Transport& own_;
  Counter& handed_over_;
  // One to each of the others.
  std::vector<std::unique_ptr<Lane>> lanes_;
  // Those that have requests, and results of others' requests, since the turn began.
  std::vector<Lane*> sending_;
  std::vector<Lane*> returning_;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_slots_;
  // By receiver, while there are any.
  absl::flat_hash_map<const HttpTarget*, size_t> under_way_;
  // Under way in `own`. Written by this thread, read by the others.
  std::atomic<int> load_{0};
};

}  // namespace postrider
