#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "src/base/ids.h"
#include "src/outbox/sqlite/database.h"
#include "src/outbox/sqlite/effects.h"
#include "src/outbox/types.h"

namespace postrider {

// Looks through what is owed, every ten minutes, in slices:
//
//   What is owed to a webhook that is disabled ends when its age is spent: an engine does so at the
//   next failure, and here is none. Nothing of it is in an engine's memory.
//   What is due later than any wait of its webhook's was written under a wrong clock: it is due
//   now.
//
// Not thread-safe: it belongs to the writer thread, inside a transaction.
class OwedSweep {
 public:
  static absl::StatusOr<OwedSweep> Create(Database& db);

  bool Due(absl::Duration monotonic) const { return monotonic >= state_.next; }
  // One slice. Tells how many deliveries it ended.
  absl::StatusOr<int64_t> Run(absl::Time now, absl::Duration monotonic, Effects* effects);

  // How far the wall clock, which all are told, is ahead of the one by which what is due is stored.
  void SetClockOffset(absl::Duration offset) { clock_offset_ = offset; }

  // Of one disabled webhook, from its first delivery to its last.
  struct Walk {
    WebhookId webhook{};
    absl::Time disabled;
    absl::Duration max_age;
    // Where it goes on.
    OwedKey after;
    // Deliveries, by the caller's count.
    size_t looked_at = 0;
    bool done = false;
  };
  // Nothing when the webhook is enabled, or gone.
  absl::StatusOr<std::optional<Walk>> Begin(WebhookId webhook);
  // Looks at `limit` deliveries, and ends those whose age is spent at `now`. Tells how many.
  absl::StatusOr<int64_t> EndSpent(Walk* walk, int limit, absl::Time now);

  // The transaction is committed, or rolled back with the slice that it held.
  void Commit() { saved_ = state_; }
  void Rollback() { state_ = saved_; }

 private:
  struct State {
    absl::Duration next = -absl::InfiniteDuration();
    // Webhooks up to this one have been looked at.
    WebhookId webhook{};
    // Of a webhook that is looked at now.
    std::optional<Walk> walk;
  };

  // Tells whether it has mended all.
  absl::StatusOr<bool> MendDues(WebhookId webhook, absl::Duration max_backoff, absl::Time now,
                                Effects* effects);

  absl::Duration clock_offset_;
  State state_;
  State saved_;
  Statement next_webhook_;
  Statement disabled_;
  Statement owed_;
  Statement end_;
  Statement too_late_;
  Statement mend_;
};

}  // namespace postrider
