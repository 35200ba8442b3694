#pragma once

#include <list>

#include "absl/time/time.h"
#include "src/base/mutex.h"

namespace postrider {

// Answers that were given to gRPC and are not on the wire yet, the oldest first: a caller who does
// not read keeps them, and what they hold, for as long as his connection lasts.
//
// Thread-safe.
class UnsentAnswers {
 public:
  class Entry {
   public:
    virtual ~Entry() = default;
    // Whoever asked shall not have it any more; it is removed soon. May not call back.
    virtual void GiveUp() = 0;

   private:
    friend class UnsentAnswers;
    std::list<Entry*>::iterator place_;
    absl::Duration since_;
  };

  UnsentAnswers() = default;
  UnsentAnswers(const UnsentAnswers&) = delete;
  UnsentAnswers& operator=(const UnsentAnswers&) = delete;

  void Add(Entry* entry);
  // From here on it is not given up any more. REQUIRES: it was added.
  void Remove(Entry* entry);

  // Gives up all that are older. Those stay until they are removed, and are given up again.
  void GiveUpOlderThan(absl::Duration age);

 private:
  Mutex mutex_;
  std::list<Entry*> answers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postrider
