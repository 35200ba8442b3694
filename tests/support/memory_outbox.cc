#include "tests/support/memory_outbox.h"

#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>

namespace postrider {
namespace {

constexpr bool kRefusable = true;
constexpr bool kNeverRefused = false;

}  // namespace

MemoryOutbox::MemoryOutbox(const Clock& clock, MemoryStore& store, OutboxListener* listener)
    : clock_(clock), store_(store), listener_(listener) {}

// ---- The steps

size_t MemoryOutbox::Commit(size_t max) {
  size_t count = 0;
  for (; count < max; ++count) {
    Write write;
    absl::Status status;
    bool stored = true;
    {
      MutexLock lock(&mutex_);
      if (held_ || writes_.empty()) break;
      write = std::move(writes_.front());
      writes_.pop_front();
      if (broken_ || break_) {
        stored = !broken_ && break_stored_;
        status = absl::UnknownError("the disk failed at the commit; restart the server");
      } else if (failures_ > 0) {
        --failures_;
        stored = false;
        status = failure_;
      }
    }
    if (stored) std::move(write.work)(status.ok() ? listener_ : nullptr);
    answers_.Post([answer = std::move(write.answer), status = std::move(status)]() mutable {
      std::move(answer)(std::move(status));
    });
  }
  MutexLock lock(&mutex_);
  // All that was done in this call was one commit.
  if (break_ && count > 0) broken_ = true;
  if (!held_ && !broken_) store_.SweepOwed(clock_.Steady());
  return count;
}

size_t MemoryOutbox::RunPending() {
  size_t answered = 0;
  while (Commit() > 0 || !answers_.empty()) answered += answers_.RunAll();
  return answered;
}

size_t MemoryOutbox::queued_writes() const {
  MutexLock lock(&mutex_);
  return writes_.size();
}

// ---- What goes wrong

void MemoryOutbox::FailWrites(size_t count, absl::Status status) {
  if (status.ok()) std::abort();
  MutexLock lock(&mutex_);
  failures_ = count;
  failure_ = std::move(status);
}

void MemoryOutbox::HoldCommits(bool hold) {
  MutexLock lock(&mutex_);
  held_ = hold;
}

void MemoryOutbox::BreakDisk(bool stored) {
  MutexLock lock(&mutex_);
  break_ = true;
  break_stored_ = stored;
}

bool MemoryOutbox::broken() const {
  MutexLock lock(&mutex_);
  return broken_;
}

void MemoryOutbox::SetMaxQueuedWrites(size_t max) {
  MutexLock lock(&mutex_);
  max_queued_ = max;
}

void MemoryOutbox::SetMaxNotifications(size_t max) {
  MutexLock lock(&mutex_);
  max_notifications_ = max;
}

void MemoryOutbox::ShutDown() {
  MutexLock lock(&mutex_);
  shut_down_ = true;
}

// ---- Queueing

absl::Status MemoryOutbox::Admit(bool refusable) const {
  if (shut_down_) return absl::UnavailableError("the outbox is shutting down");
  if (refusable && writes_.size() >= max_queued_) {
    return absl::ResourceExhaustedError("the outbox's queue is full; try again later");
  }
  return absl::OkStatus();
}

template <typename Result, typename Work, typename DoneT>
void MemoryOutbox::Enqueue(bool refusable, Work work, DoneT done) {
  auto result = std::make_shared<std::optional<Result>>();
  Write write;
  write.work = [result, work = std::move(work)](OutboxListener* listener) mutable {
    result->emplace(work(listener));
  };
  write.answer = [result, done = std::move(done)](absl::Status error) mutable {
    if (!error.ok()) *result = Result(error);
    std::move(done)(std::move(**result));
  };
  absl::Status admitted;
  {
    MutexLock lock(&mutex_);
    admitted = Admit(refusable);
    if (admitted.ok()) {
      writes_.push_back(std::move(write));
      return;
    }
  }
  answers_.Post([answer = std::move(write.answer), admitted = std::move(admitted)]() mutable {
    std::move(answer)(std::move(admitted));
  });
}

template <typename Read, typename DoneT>
void MemoryOutbox::Ask(Read read, DoneT done) {
  answers_.Post(
      [read = std::move(read), done = std::move(done)]() mutable { std::move(done)(read()); });
}

// ---- Writes

void MemoryOutbox::Publish(std::vector<NewNotification> notifications,
                           Done<std::vector<absl::StatusOr<Published>>> done) {
  using Result = absl::StatusOr<std::vector<absl::StatusOr<Published>>>;
  Enqueue<Result>(
      kRefusable,
      [this, notifications = std::move(notifications)](OutboxListener* listener) -> Result {
        size_t max;
        {
          MutexLock lock(&mutex_);
          max = max_notifications_;
        }
        if (store_.notification_count() + notifications.size() > max) {
          return absl::ResourceExhaustedError("the outbox is full; try again later");
        }
        return store_.Publish(notifications, clock_.Now(), clock_.Steady(), listener);
      },
      std::move(done));
}

void MemoryOutbox::ModifyWebhook(std::string tenant, std::string name, Modify modify,
                                 Done<Webhook> done) {
  Enqueue<absl::StatusOr<Webhook>>(
      kRefusable,
      [this, tenant = std::move(tenant), name = std::move(name),
       modify = std::move(modify)](OutboxListener* listener) mutable {
        return store_.ModifyWebhook(tenant, name, modify, clock_.Now(), listener);
      },
      std::move(done));
}

void MemoryOutbox::DisableWebhook(WebhookId id, int64_t version, std::string reason,
                                  StatusDone done) {
  Enqueue<absl::Status>(
      kRefusable,
      [this, id, version, reason = std::move(reason)](OutboxListener* listener) {
        store_.DisableWebhook(id, version, reason, clock_.Now(), listener);
        return absl::OkStatus();
      },
      std::move(done));
}

void MemoryOutbox::RecordOutcomes(OutcomeBatch batch, StatusDone done) {
  Enqueue<absl::Status>(
      kNeverRefused,
      [this, batch = std::move(batch)](OutboxListener*) {
        store_.RecordOutcomes(batch, clock_.Now());
        return absl::OkStatus();
      },
      std::move(done));
}

void MemoryOutbox::RetryDelivery(std::string tenant, DeliveryId id, Done<Delivery> done) {
  Enqueue<absl::StatusOr<Delivery>>(
      kRefusable,
      [this, tenant = std::move(tenant), id](OutboxListener* listener) {
        return store_.RetryDelivery(tenant, id, clock_.Steady(), listener);
      },
      std::move(done));
}

// ---- Reads

void MemoryOutbox::ReadOwed(WebhookId webhook, OwedKey after, int limit, size_t max_bytes,
                            Done<OwedPage> done) {
  Ask([this, webhook, after, limit,
       max_bytes] { return store_.ReadOwed(webhook, after, limit, max_bytes); },
      std::move(done));
}

void MemoryOutbox::LoadWebhooks(Done<std::vector<StartingWebhook>> done) {
  Ask([this] { return store_.LoadWebhooks(); }, std::move(done));
}

void MemoryOutbox::GetWebhook(std::string tenant, std::string name, Done<Webhook> done) {
  Ask([this, tenant = std::move(tenant),
       name = std::move(name)] { return store_.GetWebhook(tenant, name); },
      std::move(done));
}

void MemoryOutbox::ListWebhooks(std::string tenant, std::string after, int limit,
                                Done<WebhookPage> done) {
  Ask([this, tenant = std::move(tenant), after = std::move(after),
       limit] { return store_.ListWebhooks(tenant, after, limit); },
      std::move(done));
}

void MemoryOutbox::GetNotification(std::string tenant, NotificationId id, Done<Notification> done) {
  Ask([this, tenant = std::move(tenant), id] { return store_.GetNotification(tenant, id); },
      std::move(done));
}

void MemoryOutbox::ListNotifications(NotificationFilter filter, Done<NotificationPage> done) {
  Ask([this, filter = std::move(filter)] { return store_.ListNotifications(filter); },
      std::move(done));
}

void MemoryOutbox::GetDelivery(std::string tenant, DeliveryId id, Done<DeliveryWithAttempts> done) {
  Ask([this, tenant = std::move(tenant), id] { return store_.GetDelivery(tenant, id); },
      std::move(done));
}

void MemoryOutbox::ListDeliveries(DeliveryFilter filter, Done<DeliveryPage> done) {
  Ask([this, filter = std::move(filter)] { return store_.ListDeliveries(filter); },
      std::move(done));
}

}  // namespace postrider
