#pragma once

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "src/base/mutex.h"
#include "src/message/signing.h"
#include "tests/e2e/api_client.h"
#include "tests/support/http_client.h"
#include "tests/support/http_sink.h"

// The kill test's receivers, and what they got.

namespace postrider::kill {

struct Receiver {
  const char* name;
  const char* path;
  // Empty: all.
  std::string type;
  bool ordered;
};
const Receiver kReceivers[] = {
    {"all", "/all", "", false},
    {"ordered", "/ordered", "", true},
    {"runs", "/runs", "RUN_COMPLETED", false},
    {"others", "/others", "OTHER", false},
};

inline bool Wants(const Receiver& receiver, const std::string& type) {
  return receiver.type.empty() || receiver.type == type;
}

struct Arrival {
  std::string path;
  std::string id;
  std::string body;
  SignatureHeaders signature;
  absl::Time time;
  // The life of the server that sent it.
  int life = 0;
  bool answered_200 = false;
};

// All receivers behind one socket. Most requests are answered with 200, some after a while, and a
// few fail or are dropped. Thread-safe.
class Receivers {
 public:
  explicit Receivers(uint32_t seed)
      : random_(seed), sink_([this](const SinkRequest& r) { return Answer(r); }) {}

  std::string Url(const std::string& path) const { return sink_.Url(path); }

  // Waits until everything that the dead server has sent was taken in: then what comes is the next
  // life's. The kernel hands connections over in the order in which they were made, so when a later
  // one of our own was served, all of the dead server's are known; and a connection is closed when
  // its last byte was read.
  void AwaitSilence() {
    const std::string answer = HttpCall(sink_.port(), "POST", "/barrier", {}, "");
    EXPECT_TRUE(absl::StartsWith(answer, "HTTP/1.1 200")) << answer;
    EXPECT_TRUE(Eventually([this] { return sink_.open_connections() == 0; }))
        << sink_.open_connections() << " connections outlive the server";
    MutexLock lock(&mutex_);
    ++life_;
  }

  std::vector<Arrival> arrivals() const {
    MutexLock lock(&mutex_);
    return arrivals_;
  }
  size_t count() const {
    MutexLock lock(&mutex_);
    return arrivals_.size();
  }

 private:
  SinkAnswer Answer(const SinkRequest& request) {
    SinkAnswer answer;
    if (request.target == "/barrier") {
      answer.close = true;
      return answer;
    }
    Arrival arrival;
    arrival.path = request.target;
    arrival.id = request.Header("webhook-id").value_or("");
    if (absl::StartsWith(arrival.id, "test_")) return answer;
    arrival.body = request.body;
    arrival.signature = {arrival.id, request.Header("webhook-timestamp").value_or(""),
                         request.Header("webhook-signature").value_or("")};
    arrival.time = request.time;
    const auto dice = random_() % 100;
    if (dice < 2) {
      answer.status = 503;
    } else if (dice < 3) {
      answer.way = SinkAnswer::Way::kDrop;
    } else if (dice < 40) {
      answer.delay = absl::Milliseconds(static_cast<int>(random_() % 8));
    }
    arrival.answered_200 = dice >= 3;
    MutexLock lock(&mutex_);
    arrival.life = life_;
    arrivals_.push_back(std::move(arrival));
    return answer;
  }

  std::mt19937 random_;
  mutable Mutex mutex_;
  int life_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Arrival> arrivals_ ABSL_GUARDED_BY(mutex_);
  // Its thread uses the rest.
  HttpSink sink_;
};

}  // namespace postrider::kill
