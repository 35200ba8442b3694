#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "postrider/v1/delivery_service.grpc.pb.h"
#include "postrider/v1/notification_service.grpc.pb.h"
#include "postrider/v1/webhook_service.grpc.pb.h"
#include "src/base/mutex.h"
#include "src/server/app/app.h"
#include "tests/support/scratch_dir.h"

namespace postrider {

// An App in the test's own process, over a data directory that goes with the harness, and the stubs
// that call it. Receivers on loopback are allowed.
//
// Belongs to one thread, but for the stubs, which are thread-safe.
class AppHarness {
 public:
  AppHarness();
  // Stops the App.
  ~AppHarness();
  AppHarness(const AppHarness&) = delete;
  AppHarness& operator=(const AppHarness&) = delete;

  // For the next start. Every port is 0.
  ServerConfig& config() { return config_; }

  // Stops the App that there is, and starts one.
  std::optional<Failure> TryStart();
  // The same when it cannot fail.
  void Start();
  // Ends the App, as its destructor does.
  void Destroy();

  App& app() { return *app_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  v1::WebhookService::Stub& webhooks() { return *webhooks_; }
  v1::NotificationService::Stub& notifications() { return *notifications_; }
  v1::DeliveryService::Stub& deliveries() { return *deliveries_; }
  // HOST:PORT
  std::string address() const { return app_->grpc_address().ToString(); }

  // The calls that most tests make. An error comes back as it is.
  grpc::Status Configure(const v1::Webhook& webhook);
  grpc::Status Publish(const std::string& json, std::string* id);
  // Those of the notification.
  std::vector<v1::Delivery> DeliveriesOf(const std::string& notification_id);

  // False when it takes too long.
  bool WaitUntilIdle();
  // All deliveries of the notification, of which there are some, are in the state.
  bool WaitForState(const std::string& notification_id, v1::DeliveryState state);

 private:
  void Connect();

  ScratchDir directory_;
  ServerConfig config_;

  Mutex mutex_;
  CondVar notified_;
  uint64_t notifications_seen_ ABSL_GUARDED_BY(mutex_) = 0;

  std::unique_ptr<App> app_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::WebhookService::Stub> webhooks_;
  std::unique_ptr<v1::NotificationService::Stub> notifications_;
  std::unique_ptr<v1::DeliveryService::Stub> deliveries_;
};

// An enabled webhook of the default tenant that is retried soon.
v1::Webhook WebhookAt(const std::string& name, const std::string& url);

}  // namespace postrider
