#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "src/base/mutex.h"
#include "tests/e2e/api_client.h"
#include "tests/e2e/server_process.h"
#include "tests/support/http_sink.h"

namespace postrider {

// Publishes notifications of which no two are alike, and remembers which were taken. Thread-safe.
class Filler {
 public:
  explicit Filler(const std::string& address) : api_(address) {}

  // One more, of about `bytes`.
  RpcResult Publish(size_t bytes) {
    const std::string payload =
        absl::StrCat("{\"n\":", ++last_, ",\"pad\":\"", std::string(bytes, 'x'), "\"}");
    v1::PublishNotificationRequest request;
    request.mutable_notification()->set_notification_type("TEST");
    request.mutable_notification()->set_model_name("test");
    request.mutable_notification()->set_model_id(28740);
    request.mutable_notification()->set_json_payload(payload);
    v1::PublishNotificationResponse response;
    const RpcResult result =
        api_.Call(&v1::NotificationService::Stub::PublishNotification, request, &response);
    if (result.ok()) {
      MutexLock lock(&mutex_);
      taken_.insert(BodyOf(payload));
    }
    return result;
  }

  // Publishes until there is no room, and returns that answer.
  RpcResult Fill(size_t bytes) {
    for (int i = 0; i < 100000; ++i) {
      const RpcResult result = Publish(bytes);
      if (!result.ok()) return result;
    }
    ADD_FAILURE() << "there was always room";
    return RpcResult();
  }

  size_t taken() const {
    MutexLock lock(&mutex_);
    return taken_.size();
  }

  // Every notification that was taken has come, or comes, to the sink.
  void ExpectAllAt(const HttpSink& sink) const {
    MutexLock lock(&mutex_);
    std::set<std::string> missing = taken_;
    EXPECT_TRUE(Eventually([&] {
      for (const SinkRequest& request : sink.requests()) missing.erase(request.body);
      return missing.empty();
    })) << missing.size()
        << " of " << taken_.size() << " were taken and lost";
  }

 private:
  const ApiClient api_;
  std::atomic<int> last_{0};
  mutable Mutex mutex_;
  std::set<std::string> taken_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postrider
