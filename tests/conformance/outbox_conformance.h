#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "src/base/mutex.h"
#include "src/outbox/outbox.h"
#include "tests/support/fake_clock.h"

// What every outbox must do: each promise of src/outbox/outbox.h, as tests over a backend. A
// backend joins by instantiating the suite in a test binary that links
// postrider_outbox_conformance:
//
//   INSTANTIATE_TEST_SUITE_P(Memory, OutboxConformanceTest, testing::Values(MemoryBackend()),
//                            BackendName);
//
// What depends on the disk (full, broken, foreign files) is each backend's own to test.

namespace postrider {

// One outbox under test, with its data. Destroying it ends the outbox and removes the data.
class OutboxHarness {
 public:
  virtual ~OutboxHarness() = default;

  virtual Outbox& outbox() = 0;
  // Ends the outbox in good order, and opens another over the same data, with the same listener.
  virtual void Reopen() = 0;
  // The outbox is shut down in good order, and can still be called. It is reopened by Reopen.
  virtual void Close() = 0;
  // Does what waits. An outbox with threads of its own needs none.
  virtual void Pump() {}
};

struct OutboxBackend {
  std::string name;
  // Clock and listener outlive the harness.
  std::function<std::unique_ptr<OutboxHarness>(const FakeClock&, OutboxListener&)> open;
};

inline void PrintTo(const OutboxBackend& backend, std::ostream* out) { *out << backend.name; }

inline std::string BackendName(const testing::TestParamInfo<OutboxBackend>& info) {
  return info.param.name;
}

// Remembers what it hears. Thread-safe, and checks that it is called by one thread at a time.
class RecordingListener final : public OutboxListener {
 public:
  struct Event {
    std::vector<OwedDelivery> owed;
    std::optional<Webhook> changed;
    std::optional<WebhookId> deleted;
  };

  void OnOwed(std::vector<OwedDelivery> deliveries) override;
  void OnWebhookChanged(const Webhook& webhook) override;
  void OnWebhookDeleted(WebhookId id) override;

  // All since the last call.
  std::vector<Event> Take();
  // The deliveries among them.
  std::vector<OwedDelivery> TakeOwed();

 private:
  void Add(Event event);

  Mutex mutex_;
  std::vector<Event> events_ ABSL_GUARDED_BY(mutex_);
  std::atomic<int> inside_{0};
};

class OutboxConformanceTest : public testing::TestWithParam<OutboxBackend> {
 protected:
  OutboxConformanceTest();
  ~OutboxConformanceTest() override;

  Outbox& outbox() { return harness_->outbox(); }

  // Makes the call and waits for its answer. `call` is given the `done`.
  template <typename T>
  absl::StatusOr<T> Wait(std::function<void(Outbox::Done<T>)> call) {
    absl::StatusOr<T> result;
    Await([&](std::function<void()> answered) {
      call([&result, answered = std::move(answered)](absl::StatusOr<T> r) {
        result = std::move(r);
        answered();
      });
    });
    return result;
  }
  absl::Status WaitStatus(std::function<void(Outbox::StatusDone)> call);
  // Starts `call`, and waits until what it was given has been called. Fails the test when that
  // happens inside the call, or not within the deadline.
  void Await(std::function<void(std::function<void()>)> call);
  // Asks again until `holds`, for what comes "some time after".
  bool Eventually(const std::function<bool()>& holds);

  // The calls of the outbox, answered.
  std::vector<absl::StatusOr<Published>> Publish(std::vector<NewNotification> notifications);
  // One that must succeed.
  Published PublishOne(std::string tenant = "default", std::string type = "T",
                       std::string body = "{}", std::string key = "");
  absl::StatusOr<Webhook> Modify(const std::string& tenant, const std::string& name,
                                 Outbox::Modify modify);
  // Creates or changes a webhook, which is enabled unless `change` says otherwise.
  Webhook Put(const std::string& tenant, const std::string& name,
              std::function<void(Webhook&)> change = nullptr);
  absl::StatusOr<Webhook> Delete(const std::string& tenant, const std::string& name);
  absl::Status Record(OutcomeBatch batch);
  absl::StatusOr<Delivery> Retry(const std::string& tenant, DeliveryId id);
  OwedPage Owed(WebhookId webhook, OwedKey after = {}, int limit = 1000,
                size_t max_bytes = size_t{1} << 30);
  std::vector<StartingWebhook> Load();
  absl::StatusOr<Webhook> GetWebhook(const std::string& tenant, const std::string& name);
  absl::StatusOr<WebhookPage> ListWebhooks(const std::string& tenant, const std::string& after,
                                           int limit);
  absl::StatusOr<Notification> GetNotification(const std::string& tenant, NotificationId id);
  absl::StatusOr<DeliveryWithAttempts> GetDelivery(const std::string& tenant, DeliveryId id);
  // All pages, put together; each must keep to the limit.
  absl::StatusOr<std::vector<Notification>> ListNotifications(NotificationFilter filter);
  absl::StatusOr<std::vector<Delivery>> ListDeliveries(DeliveryFilter filter);

  // The outcome of the next attempt of `owed`, which began now and took 20 ms.
  AttemptOutcome Outcome(const OwedDelivery& owed, DeliveryState next_state,
                         absl::Time next_due = absl::InfinitePast());
  // Publishes one notification to one new webhook of the default tenant, and tells what is owed.
  OwedDelivery OweOne(const std::string& webhook_name = "hook");

  // What one Await has heard; shared with the `done`, which may outlive it.
  struct Answer {
    Mutex mutex;
    CondVar cond;
    int count ABSL_GUARDED_BY(mutex) = 0;
    bool inside ABSL_GUARDED_BY(mutex) = false;
  };

  std::vector<std::shared_ptr<Answer>> answers_;
  FakeClock clock_;
  RecordingListener listener_;
  std::unique_ptr<OutboxHarness> harness_;
};

}  // namespace postrider
