#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
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
// A target with few requests under way is served by the caller's thread alone: to hand a request
// over costs more than to wake up for it, and a second thread means connections of its own. Of a
// target with more, a helper gets up to half while the caller's thread has hardly any time left and
// the helper's has more. The helper follows from the URL, so that its connections are used again;
// there may be up to twice as many of them as requests under way.
//
// Requests are handed over once a turn of the caller's loop, and what came of them once a turn of
// the helper's. Their latency, and the time that they may take, count from when the helper begins.
//
// All but Connect belongs to the thread of `home`. Let it be the last of its loop's Timed: what a
// turn hands over goes out at its end.
class SharedTransport final : public Transport, public EventLoop::Timed {
 public:
  // `home` runs closures on the thread that owns `own`; `busy` says how much of its time that
  // thread has no rest, from 0 to 1, and is called on any thread. `handed_over` counts the requests
  // that a helper was given. They must outlive it.
  SharedTransport(Executor& home, std::function<float()> busy, Transport& own,
                  Counter& handed_over);
  ~SharedTransport() override;

  // Lets each be helped by the others. REQUIRES: called once, before their loops run; none is
  // destroyed before the loops of all have ended.
  static void Connect(const std::vector<SharedTransport*>& all);

  void Send(TransferRequest request, Done done) override;
  // Of what a helper sends, as with CancelAll.
  void Cancel(const HttpTarget& target) override;
  // What a helper sends ends at once, too; but the helper goes on with it until its own transport
  // is told the same, and what comes of it is dropped.
  void CancelAll() override;
  // The same, and from now on nothing is sent for others: the loop is about to end. Theirs is
  // cancelled; what they have handed over and the loop does not run any more ends with their own
  // CancelAll.
  void Stop();

  void OnTurn() override;
  absl::Duration Deadline() const override { return absl::InfiniteDuration(); }

 private:
  class Lane;
  // What is under way to a target.
  struct Flow {
    size_t all = 0;
    size_t handed_over = 0;
    // The helper, once there was a need for one.
    Lane* lane = nullptr;
  };
  // A request under way, for this thread's caller.
  struct Slot {
    // Null while the slot is free.
    const HttpTarget* target = nullptr;
    bool handed_over = false;
    Done done;
    // How often the slot was given back: what comes of an earlier request is void.
    uint32_t uses = 0;
  };

  // Whether one more request of the flow is for its helper.
  bool ShallHandOver(const HttpTarget& target, Flow& flow) const;
  uint32_t TakeSlot(const HttpTarget* target, bool handed_over, Done done);
  void End(uint32_t slot, uint32_t use, TransferResult result);

  Executor& home_;
  const std::function<float()> busy_;
  Transport& own_;
  Counter& handed_over_;
  bool stopped_ = false;
  // One to each of the others.
  std::vector<std::unique_ptr<Lane>> lanes_;
  // Those that have requests, and results of others' requests, since the turn began.
  std::vector<Lane*> sending_;
  std::vector<Lane*> returning_;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_slots_;
  // By target, while anything is under way.
  absl::flat_hash_map<const HttpTarget*, Flow> flows_;
};

}  // namespace postrider
