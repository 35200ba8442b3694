#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "postrider/v1/notification_service.grpc.pb.h"
#include "postrider/v1/webhook_service.grpc.pb.h"
#include "tools/benchmark/child_process.h"

namespace postrider::bench {

struct WebhookSpec {
  std::string name;
  std::string url;
  // Empty: all.
  std::vector<std::string> types;
  int max_concurrency = 16;
  // 0: no limit.
  double per_second = 0;
};

// A `postrider serve` that runs with its defaults in a data directory. Everything Fails when the
// server does not do as it is asked. Not thread-safe: it belongs to the main thread.
class ServerProcess {
 public:
  // Returns when the server is ready.
  ServerProcess(const std::string& binary, const std::string& data_dir);
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  const std::string& grpc_address() const { return grpc_address_; }
  // From just before its start until the bench had read its ready line.
  int64_t start_to_ready_ns() const { return ready_ns_ - process_.start_ns(); }
  ChildProcess& process() { return process_; }

  // Enabled, so the receiver must answer its test.
  void Configure(const WebhookSpec& webhook);
  void Publish(const v1::PublishNotificationRequest& request);

  // A metric without labels.
  int64_t Metric(const std::string& name) const;
  // Fails when the outcomes are not on disk in time.
  void WaitForOutcomes(int64_t count, int64_t timeout_ns) const;

 private:
  ChildProcess process_;
  int64_t ready_ns_ = 0;
  std::string grpc_address_;
  std::string http_address_;
  std::unique_ptr<v1::WebhookService::Stub> webhooks_;
  std::unique_ptr<v1::NotificationService::Stub> notifications_;
};

// The part of a ready line behind `field`.
std::string ReadyField(const std::string& line, const std::string& field);

}  // namespace postrider::bench
