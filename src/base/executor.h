#pragma once

#include "absl/functional/any_invocable.h"

namespace postrider {

// Runs closures one after another, in the order of their posting, on one thread: how every other
// thread hands work to the thread that owns a loop. In a simulation, a queue that the test steps.
//
// Thread-safe. Post never runs the closure before it returns.
class Executor {
 public:
  virtual ~Executor() = default;

  // Queues the closure. Closures that are posted after the executor has stopped are destroyed
  // without being run.
  virtual void Post(absl::AnyInvocable<void() &&> closure) = 0;
};

}  // namespace postrider
