#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "src/base/mutex.h"
#include "src/outbox/outbox.h"
#include "src/outbox/sqlite/options.h"
#include "src/outbox/sqlite/sqlite_outbox.h"

namespace postrider {

// Something that happens once, on another thread, and that a test waits for.
class Event {
 public:
  void Set();
  // Aborts the test program when it has not happened within 30 s: what refers to the test's own
  // variables may still come.
  void Wait();
  bool happened();

 private:
  Mutex mutex_;
  CondVar cond_;
  bool happened_ ABSL_GUARDED_BY(mutex_) = false;
};

// Asks again, every few milliseconds, until `holds`; false after 30 s.
bool Eventually(const std::function<bool()>& holds);

// Makes the call, which is given the `done`, and waits for its answer.
template <typename T>
absl::StatusOr<T> Await(std::function<void(Outbox::Done<T>)> call) {
  absl::StatusOr<T> result;
  Event answered;
  call([&](absl::StatusOr<T> r) {
    result = std::move(r);
    answered.Set();
  });
  answered.Wait();
  return result;
}

// The outbox's calls, answered.
absl::StatusOr<std::vector<absl::StatusOr<Published>>> PublishAll(
    Outbox& outbox, std::vector<NewNotification> notifications);
absl::StatusOr<Published> PublishOne(Outbox& outbox, const std::string& type = "T",
                                     const std::string& body = "{}", const std::string& key = "",
                                     const std::string& tenant = "default");
// Creates or changes an enabled webhook of the default tenant; no types: all.
absl::StatusOr<Webhook> PutWebhook(Outbox& outbox, const std::string& name,
                                   std::vector<std::string> types = {},
                                   const std::string& tenant = "default");
absl::StatusOr<Webhook> DeleteWebhook(Outbox& outbox, const std::string& name);
absl::Status RecordAll(Outbox& outbox, OutcomeBatch batch);
absl::StatusOr<OwedPage> ReadOwed(Outbox& outbox, WebhookId webhook, int limit = 100000);
absl::StatusOr<Notification> GetNotification(Outbox& outbox, NotificationId id);
absl::StatusOr<DeliveryWithAttempts> GetDelivery(Outbox& outbox, DeliveryId id);
// One page of the deliveries of a webhook of the default tenant.
absl::StatusOr<DeliveryPage> ListDeliveries(Outbox& outbox, const std::string& webhook,
                                            std::optional<DeliveryId> before = std::nullopt);
// Those of all pages.
absl::StatusOr<int> CountDeliveries(Outbox& outbox, const std::string& webhook);

// The outcome of the next attempt of `owed`: a success, or a last failure.
AttemptOutcome OutcomeOf(const OwedDelivery& owed, DeliveryState next_state, absl::Time now);

// Options for a test: no room is kept free on the disk, maintenance comes quickly.
SqliteOutboxOptions TestOptions(const std::string& directory);

// Opens, and aborts the test program when that fails. A disk that fails fails the test.
std::unique_ptr<SqliteOutbox> OpenOutbox(const SqliteOutboxOptions& options, const Clock& clock,
                                         OutboxListener* listener = nullptr);

}  // namespace postrider
