#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "postrider/v1/notification_service.grpc.pb.h"

namespace postrider::bench {

struct PublishLoadOptions {
  std::string address;
  int in_flight = 256;
  int channels = 4;
  int threads = 1;
  // Sent in turn. With one request in each, or with batches of them.
  std::vector<v1::PublishNotificationRequest> requests;
  // 0: PublishNotification; otherwise BatchPublishNotifications of so many, all of requests[0].
  int batch = 0;
  // Writes the time of sending into each. Not for batches.
  bool stamp = false;
  // Whether one more call may be sent now; asked again every millisecond. Empty: always. Called on
  // the load's threads.
  std::function<bool()> may_send;
};

// Keeps a number of publishing calls in flight: each is sent when one has been answered. Its calls
// go through completion queues, since that is the cheapest client that gRPC has. An answer that is
// no success Fails.
class PublishLoad {
 public:
  // Connects, and begins.
  explicit PublishLoad(PublishLoadOptions options);
  // Sends nothing new, and waits for the answers that are due.
  ~PublishLoad();
  PublishLoad(const PublishLoad&) = delete;
  PublishLoad& operator=(const PublishLoad&) = delete;

  // Notifications that were answered.
  int64_t published() const { return published_.load(std::memory_order_relaxed); }
  // Calls that were begun.
  int64_t sent() const { return sent_.load(std::memory_order_relaxed); }

 private:
  struct Call;
  class Worker;

  const PublishLoadOptions options_;
  std::vector<std::unique_ptr<v1::NotificationService::Stub>> stubs_;
  v1::BatchPublishNotificationsRequest batch_request_;
  std::atomic<bool> stopping_{false};
  std::atomic<int64_t> published_{0};
  std::atomic<int64_t> sent_{0};
  std::vector<std::unique_ptr<Worker>> workers_;
};

// Publishes one stamped notification at each of the given times, whether or not the one before was
// answered, and returns how long the answers took: in nanoseconds, sorted.
std::vector<int64_t> PublishAt(const std::string& address,
                               const v1::PublishNotificationRequest& request,
                               const std::vector<int64_t>& times_ns);

// A connection of its own: gRPC shares one among channels that look the same.
std::shared_ptr<grpc::Channel> NewConnection(const std::string& address, int number);

}  // namespace postrider::bench
