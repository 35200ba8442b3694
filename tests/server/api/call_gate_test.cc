#include "src/server/api/call_gate.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "src/server/api/methods.h"
#include "tests/server/api/handler_fixture.h"

namespace postrider {
namespace {

constexpr int64_t kMaxAnswerBytes = 1'200'000;

// A door beside gRPC's: bytes in, bytes out, within the process. It knows the table of methods, and
// none of them by name.
class InProcessDoor {
 public:
  struct Call {
    std::optional<absl::Status> status;
    std::string response;
    CallShares::Share share;
  };

  explicit InProcessDoor(CallGate& gate) {
    ForEachMethod([&](const auto& method, size_t number) {
      using OneMethod = std::decay_t<decltype(method)>;
      methods_[method.name] = [&gate, method, number](const std::string& bytes,
                                                      const CallContext& context, Call* call) {
        struct Messages {
          typename OneMethod::Request request;
          typename OneMethod::Response response;
        };
        auto messages = std::make_shared<Messages>();
        ASSERT_TRUE(messages->request.ParseFromString(bytes));
        gate.Serve(method, number, messages->request, &messages->response, context,
                   [messages, call](absl::Status status, CallShares::Share share) {
                     ASSERT_FALSE(call->status.has_value()) << "answered twice";
                     call->status = std::move(status);
                     call->response = messages->response.SerializeAsString();
                     call->share = std::move(share);
                   });
      };
    });
  }

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& [name, serve] : methods_) names.push_back(name);
    return names;
  }

  std::unique_ptr<Call> Begin(const std::string& name, const google::protobuf::Message& request,
                              const CallContext& context = {}) {
    auto call = std::make_unique<Call>();
    methods_.at(name)(request.SerializeAsString(), context, call.get());
    return call;
  }

 private:
  std::map<std::string, std::function<void(const std::string&, const CallContext&, Call*)>>
      methods_;
};

class Failures final : public CallGate::Listener {
 public:
  void OnFailed(const char* method, const absl::Status& status) override {
    seen.emplace_back(method, status.code());
  }
  std::vector<std::pair<std::string, absl::StatusCode>> seen;
};

class CallGateTest : public HandlerFixture {
 protected:
  void Open() { gate_.Open({&webhooks_, &notifications_, &deliveries_}); }

  absl::Status End(const std::unique_ptr<InProcessDoor::Call>& call) {
    Run();
    return call->status.value_or(absl::InternalError("not answered"));
  }
  const CallMetrics::OfMethod& CountsOf(const std::string& name) const {
    size_t found = kMethodCount;
    ForEachMethod([&](const auto& method, size_t number) {
      if (method.name == name) found = number;
    });
    return gate_.metrics().methods.at(found);
  }
  static uint64_t Ended(const CallMetrics::OfMethod& counts) {
    uint64_t ended = 0;
    for (const Counter& counter : counts.ended) ended += counter.value();
    return ended;
  }

  static v1::PublishNotificationRequest AnyPublish(size_t bytes = 10) {
    v1::PublishNotificationRequest request;
    request.mutable_notification()->set_notification_type("T");
    request.mutable_notification()->set_json_payload("{\"a\":\"" + std::string(bytes, 'x') + "\"}");
    return request;
  }

  Failures failures_;
  CallGate gate_{clock_, {4, 100'000, kMaxAnswerBytes}, &failures_};
  InProcessDoor door_{gate_};
};

TEST_F(CallGateTest, AnotherDoorServesEveryMethod) {
  Open();
  ASSERT_EQ(door_.names().size(), kMethodCount) << "two have one name";
  for (const std::string& name : door_.names()) {
    // What is empty is a request of each; most refuse it.
    auto call = door_.Begin(name, v1::GetWebhookRequest());
    const absl::Status status = End(call);
    EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status) || absl::IsNotFound(status))
        << name << ": " << status;
    EXPECT_EQ(Ended(CountsOf(name)), 1u) << name;
  }
  EXPECT_EQ(gate_.metrics().in_flight.value(), 0);
  EXPECT_EQ(gate_.metrics().in_flight_bytes.value(), 0);
}

TEST_F(CallGateTest, CallsThatTestOrTellASecretAreWatched) {
  std::vector<std::string> watched;
  ForEachMethod([&](const auto& method, size_t /*number*/) {
    if (method.watched == Watched::kYes) watched.push_back(method.name);
  });
  EXPECT_EQ(watched, (std::vector<std::string>{"ConfigureWebhook", "ValidateWebhook",
                                               "RotateSigningSecret"}));
}

TEST_F(CallGateTest, WhatOneDoorPublishesAnotherCallReads) {
  Open();
  auto publish = door_.Begin("PublishNotification", AnyPublish());
  ASSERT_TRUE(End(publish).ok());
  v1::PublishNotificationResponse published;
  ASSERT_TRUE(published.ParseFromString(publish->response));
  v1::GetNotificationRequest get;
  get.set_notification_id(published.notification_id());
  auto got = door_.Begin("GetNotification", get);
  EXPECT_TRUE(End(got).ok());
}

TEST_F(CallGateTest, BeforeItOpensNothingIsServed) {
  for (const std::string& name : door_.names()) {
    auto call = door_.Begin(name, v1::GetWebhookRequest());
    ASSERT_TRUE(call->status.has_value()) << name;
    EXPECT_TRUE(absl::IsUnavailable(*call->status)) << name;
  }
}

TEST_F(CallGateTest, WhenItDrainsOnlyReadsAreServed) {
  Open();
  gate_.StopAdmission();
  ForEachMethod([&](const auto& method, size_t /*number*/) {
    auto call = door_.Begin(method.name, v1::GetWebhookRequest());
    EXPECT_EQ(absl::IsUnavailable(End(call)), method.access == Access::kWrites) << method.name;
  });
}

TEST_F(CallGateTest, ACallCountsUntilItsDoorLetsGoOfTheAnswer) {
  Open();
  std::vector<std::unique_ptr<InProcessDoor::Call>> calls;
  CallContext context;
  context.peer = "192.0.2.1";
  // One who is alone leaves a place.
  for (int i = 0; i < 3; ++i) {
    calls.push_back(door_.Begin("PublishNotification", AnyPublish(), context));
    Run();
  }
  auto refused = door_.Begin("PublishNotification", AnyPublish(), context);
  EXPECT_TRUE(absl::IsResourceExhausted(End(refused)));
  ASSERT_EQ(failures_.seen.size(), 1u);
  EXPECT_EQ(failures_.seen[0].first, "PublishNotification");
  calls.clear();
  auto admitted = door_.Begin("PublishNotification", AnyPublish(), context);
  EXPECT_TRUE(End(admitted).ok());
}

TEST_F(CallGateTest, AFaultOfOurOwnIsTold) {
  Open();
  outbox_.BreakDisk(/*stored=*/false);
  auto call = door_.Begin("PublishNotification", AnyPublish());
  EXPECT_TRUE(absl::IsUnknown(End(call)));
  ASSERT_EQ(failures_.seen.size(), 1u);
  EXPECT_EQ(failures_.seen[0].second, absl::StatusCode::kUnknown);
}

}  // namespace
}  // namespace postrider
