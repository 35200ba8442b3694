#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "src/base/clock.h"
#include "src/base/mutex.h"
#include "src/outbox/outbox.h"
#include "tests/support/manual_executor.h"
#include "tests/support/memory_store.h"

namespace postrider {

// An outbox without disk and thread, which a test or a simulation drives step by step:
//
//   a write --> queue --Commit()--> the store, the listener --> an answer waits --Answer()-->
//   `done` a read  ----------------------------------------------------^  (it reads when it
//   answers)
//
// Queueing calls are thread-safe, so gRPC threads may make them; Commit, AnswerOne and RunPending
// are called by one thread, which is the one that every `done` and the listener run on.
//
// To crash: destroy it at any moment, with writes queued (lost) and answers waiting (their `done`s
// are destroyed uncalled, though the writes are stored), and make another over the same store.
class MemoryOutbox final : public Outbox {
 public:
  // Clock, store and listener must outlive it. The listener may be null.
  MemoryOutbox(const Clock& clock, MemoryStore& store, OutboxListener* listener);

  MemoryOutbox(const MemoryOutbox&) = delete;
  MemoryOutbox& operator=(const MemoryOutbox&) = delete;

  // ---- The steps

  // Does the queued writes, oldest first, `max` of them at most, tells the listener, and lets their
  // answers wait. Then cancels what is owed to deleted webhooks. Does nothing while commits are
  // held. Tells how many writes it did, failed ones included.
  size_t Commit(size_t max = SIZE_MAX);
  // Calls the oldest waiting `done`. False when there is none.
  bool AnswerOne() { return answers_.RunOne(); }
  // Commits and answers until nothing is left that can be done. Tells how many `done`s it called.
  size_t RunPending();

  size_t queued_writes() const;
  size_t waiting_answers() const { return answers_.size(); }

  // ---- What goes wrong

  // The next `count` writes that are committed store nothing and answer `status`. RecordOutcomes
  // counts as well. REQUIRES: status is an error.
  void FailWrites(size_t count, absl::Status status);
  // While held, writes wait; reads are answered all the same.
  void HoldCommits(bool hold);
  // The disk fails at the next commit: all that is queued then, and every write after it, answers
  // UNKNOWN. `stored`: that commit is on the disk nevertheless, as the next outbox will see. The
  // listener hears nothing of it.
  void BreakDisk(bool stored);
  bool broken() const;
  // Writes beyond this many in the queue are refused with RESOURCE_EXHAUSTED, but for
  // RecordOutcomes.
  void SetMaxQueuedWrites(size_t max);
  // Publishes beyond this many stored notifications are refused with RESOURCE_EXHAUSTED.
  void SetMaxNotifications(size_t max);
  // From now on writes answer UNAVAILABLE; those in the queue are still done.
  void ShutDown();

  // ---- Outbox

  const IdCodec& ids() const override { return store_.ids(); }
  void Publish(std::vector<NewNotification> notifications,
               Done<std::vector<absl::StatusOr<Published>>> done) override;
  void ModifyWebhook(std::string tenant, std::string name, Modify modify,
                     Done<Webhook> done) override;
  void DisableWebhook(WebhookId id, int64_t version, std::string reason, StatusDone done) override;
  void RecordOutcomes(OutcomeBatch batch, StatusDone done) override;
  void RetryDelivery(std::string tenant, DeliveryId id, Done<Delivery> done) override;
  void ReadOwed(WebhookId webhook, OwedKey after, int limit, size_t max_bytes,
                Done<OwedPage> done) override;
  void LoadWebhooks(Done<std::vector<StartingWebhook>> done) override;
  void GetWebhook(std::string tenant, std::string name, Done<Webhook> done) override;
  void ListWebhooks(std::string tenant, std::string after, int limit,
                    Done<WebhookPage> done) override;
  void GetNotification(std::string tenant, NotificationId id, Done<Notification> done) override;
  void ListNotifications(NotificationFilter filter, Done<NotificationPage> done) override;
  void GetDelivery(std::string tenant, DeliveryId id, Done<DeliveryWithAttempts> done) override;
  void ListDeliveries(DeliveryFilter filter, Done<DeliveryPage> done) override;

 private:
  struct Write {
    // Does the write in the store and keeps the result.
    absl::AnyInvocable<void(OutboxListener*) &&> work;
    // Calls `done` with that result, or with an error instead of it.
    absl::AnyInvocable<void(absl::Status) &&> answer;
  };

  // Queues `work(listener)`, whose result is what `done` takes.
  template <typename Result, typename Work, typename DoneT>
  void Enqueue(bool refusable, Work work, DoneT done);
  // Lets `done` wait with what `read()` returns when its turn has come.
  template <typename Read, typename DoneT>
  void Ask(Read read, DoneT done);
  absl::Status Admit(bool refusable) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Clock& clock_;
  MemoryStore& store_;
  OutboxListener* const listener_;
  ManualExecutor answers_;

  mutable Mutex mutex_;
  std::deque<Write> writes_ ABSL_GUARDED_BY(mutex_);
  size_t max_queued_ ABSL_GUARDED_BY(mutex_) = SIZE_MAX;
  size_t max_notifications_ ABSL_GUARDED_BY(mutex_) = SIZE_MAX;
  size_t failures_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  bool break_ ABSL_GUARDED_BY(mutex_) = false;
  bool break_stored_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
  bool shut_down_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace postrider
