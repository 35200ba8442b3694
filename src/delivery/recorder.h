#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "src/base/executor.h"
#include "src/base/metrics.h"
#include "src/delivery/webhook_queue.h"
#include "src/outbox/outbox.h"

namespace postrider {

// Hands the outcomes of attempts to the outbox, and holds them until they are on disk. They linger
// for a moment, so that one commit takes many; those that something waits for do not. Batches may
// overlap. When the outbox cannot take a batch (the disk is full) it is kept and offered again,
// after 1 s at first and 10 s at most, and meanwhile nothing new should be sent: see CanSend.
//
// Not thread-safe: belongs to the engine; what the outbox answers comes back through `home`.
class Recorder {
 public:
  class Host {
   public:
    // The outcome is on disk.
    virtual void OnRecorded(Item* item, const AttemptOutcome& outcome) = 0;
    // A batch was refused that told of this webhook's health: it must be told again.
    virtual void OnHealthRefused(WebhookId webhook) = 0;

   protected:
    ~Host() = default;
  };

  Recorder(Outbox& outbox, Executor& home, absl::Duration linger, Counter& failures, Host& host)
      : outbox_(outbox), home_(home), failures_(failures), host_(host), linger_(linger) {}

  // Joins the next batch, and sends it on at the next Flush when it is `urgent`. `item` is given
  // back with OnRecorded.
  void Add(Item* item, AttemptOutcome outcome, bool urgent);
  void AddHealth(const WebhookHealth& health) { next_.rows.health.push_back(health); }

  // Hands over what was added, unless it must wait.
  void Flush(absl::Duration mono);
  // When Flush wants to be called, monotonic; infinite when nothing waits for a time.
  absl::Duration next_flush() const;

  // From now on nothing lingers.
  void StopLingering() { linger_ = absl::ZeroDuration(); }

  // False while outcomes cannot be recorded.
  bool CanSend() const { return !refused_ && !stopped_; }
  // The outbox takes no more: it is shutting down, or its disk failed. Nothing is recorded any
  // more.
  bool stopped() const { return stopped_; }
  // The outbox said so of another write.
  void Stop() { stopped_ = true; }
  bool idle() const { return empty() && under_way_ == 0; }

 private:
  struct Batch {
    std::vector<Item*> items;
    // rows.outcomes[i] is that of items[i].
    OutcomeBatch rows;
  };

  bool empty() const { return next_.items.empty() && next_.rows.health.empty(); }
  void OnAnswer(Batch batch, uint64_t number, const absl::Status& status);
  // Puts a refused batch to what has come since.
  void TakeBack(Batch batch);

  Outbox& outbox_;
  Executor& home_;
  Counter& failures_;
  Host& host_;
  absl::Duration linger_;
  Batch next_;
  // When Flush saw the first of it.
  std::optional<absl::Duration> next_since_;
  bool next_is_urgent_ = false;
  int under_way_ = 0;
  uint64_t last_number_ = 0;
  bool stopped_ = false;
  // A batch was refused, and none that was offered later has been taken.
  bool refused_ = false;
  uint64_t refused_number_ = 0;
  absl::Duration backoff_;
  // Set by the next Flush, which knows the time.
  std::optional<absl::Duration> offer_at_;
};

}  // namespace postrider
