#include "src/server/api/delivery_handlers.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/server/api/handler_fixture.h"

namespace postrider {
namespace {

class DeliveryHandlersTest : public HandlerFixture {
 protected:
  DeliveryHandlersTest() {
    Configure(AWebhook("hook", true));
    Configure(AWebhook("second", true));
    v1::PublishNotificationRequest publish;
    publish.mutable_notification()->set_notification_type("T");
    publish.mutable_notification()->set_json_payload("{}");
    v1::PublishNotificationResponse published;
    EXPECT_TRUE(
        Do(notifications_, &NotificationHandlers::PublishNotification, publish, &published).ok());
    notification_id_ = published.notification_id();
  }

  v1::ListDeliveriesResponse List(const v1::ListDeliveriesRequest& request) {
    v1::ListDeliveriesResponse response;
    const absl::Status status =
        Do(deliveries_, &DeliveryHandlers::ListDeliveries, request, &response);
    EXPECT_TRUE(status.ok()) << status;
    return response;
  }

  v1::Delivery DeliveryOf(const std::string& webhook) {
    v1::ListDeliveriesRequest request;
    request.set_webhook_name(webhook);
    const v1::ListDeliveriesResponse response = List(request);
    EXPECT_EQ(response.deliveries_size(), 1);
    return response.deliveries(0);
  }

  void Record(const std::string& delivery_id, DeliveryState next, int http_status) {
    AttemptOutcome outcome;
    outcome.delivery = *store_.ids().ParseDeliveryId(delivery_id);
    outcome.webhook = store_.GetWebhook("default", "hook")->id;
    outcome.budget_start = clock_.Now();
    outcome.start = clock_.Now();
    outcome.latency = absl::Milliseconds(20);
    outcome.http_status = http_status;
    outcome.error = http_status < 300 ? "" : "it answered badly";
    outcome.response_body = "\xFF";
    outcome.next_state = next;
    outcome.next_due = clock_.Now() + absl::Seconds(5);
    OutcomeBatch batch;
    batch.outcomes.push_back(outcome);
    outbox_.RecordOutcomes(std::move(batch), [](absl::Status) {});
    Run();
  }

  std::string notification_id_;
};

TEST_F(DeliveryHandlersTest, ListsPending) {
  const v1::Delivery delivery = DeliveryOf("hook");
  EXPECT_EQ(delivery.tenant(), "default");
  EXPECT_EQ(delivery.webhook_name(), "hook");
  EXPECT_EQ(delivery.notification_id(), notification_id_);
  EXPECT_EQ(delivery.notification_type(), "T");
  EXPECT_EQ(delivery.state(), v1::DELIVERY_STATE_PENDING);
  EXPECT_TRUE(delivery.has_next_attempt_time());
  EXPECT_FALSE(delivery.has_end_time());
}

TEST_F(DeliveryHandlersTest, TheNextAttemptIsToldByTheClockThatPeopleSee) {
  Record(DeliveryOf("hook").delivery_id(), DeliveryState::kPending, 500);
  const google::protobuf::Timestamp before = DeliveryOf("hook").next_attempt_time();
  clock_.SetWall(clock_.Now() + absl::Hours(2));
  EXPECT_EQ(DeliveryOf("hook").next_attempt_time().seconds(), before.seconds() + 2 * 60 * 60);
}

TEST_F(DeliveryHandlersTest, APendingDeliveryThatIsHeldBackSaysWhy) {
  const std::string id = DeliveryOf("hook").delivery_id();
  EXPECT_FALSE(DeliveryOf("hook").has_hold());
  Hold hold;
  hold.reason = HoldReason::kProbing;
  hold.until = clock_.Now() + absl::Seconds(30);
  hold.detail = "its receiver fails";
  status_.holds[*store_.ids().ParseDeliveryId(id)] = hold;

  const auto expect_held = [&](const v1::Delivery& delivery) {
    EXPECT_EQ(delivery.hold().reason(), v1::HOLD_REASON_PROBING);
    EXPECT_FALSE(delivery.hold().has_start_time());
    EXPECT_EQ(delivery.hold().until_time().seconds(), absl::ToUnixSeconds(hold.until));
    EXPECT_EQ(delivery.hold().detail(), "its receiver fails");
  };
  expect_held(DeliveryOf("hook"));
  EXPECT_FALSE(DeliveryOf("second").has_hold());
  v1::GetDeliveryRequest get;
  get.set_delivery_id(id);
  v1::GetDeliveryResponse got;
  ASSERT_TRUE(Do(deliveries_, &DeliveryHandlers::GetDelivery, get, &got).ok());
  expect_held(got.delivery());
  // A retry that sends nothing says so.
  v1::RetryDeliveryRequest retry;
  retry.set_delivery_id(id);
  v1::RetryDeliveryResponse retried;
  ASSERT_TRUE(Do(deliveries_, &DeliveryHandlers::RetryDelivery, retry, &retried).ok());
  expect_held(retried.delivery());

  Record(id, DeliveryState::kDelivered, 200);
  EXPECT_FALSE(DeliveryOf("hook").has_hold());
}

TEST_F(DeliveryHandlersTest, FiltersAndPages) {
  v1::ListDeliveriesRequest request;
  EXPECT_EQ(List(request).deliveries_size(), 2);
  request.set_notification_id(notification_id_);
  request.set_page_size(1);
  v1::ListDeliveriesResponse page = List(request);
  ASSERT_EQ(page.deliveries_size(), 1);
  const std::string first = page.deliveries(0).delivery_id();
  request.set_page_token(page.next_page_token());
  page = List(request);
  ASSERT_EQ(page.deliveries_size(), 1);
  EXPECT_NE(page.deliveries(0).delivery_id(), first);

  request.Clear();
  request.set_state(v1::DELIVERY_STATE_DEAD);
  EXPECT_EQ(List(request).deliveries_size(), 0);
}

TEST_F(DeliveryHandlersTest, BadFiltersAreNamed) {
  v1::ListDeliveriesResponse response;
  v1::ListDeliveriesRequest request;
  request.set_state(static_cast<v1::DeliveryState>(9));
  request.mutable_start_time()->set_nanos(-1);
  EXPECT_EQ(FieldsOf(Do(deliveries_, &DeliveryHandlers::ListDeliveries, request, &response)),
            "state start_time");
  request.Clear();
  request.set_webhook_name("nobody");
  EXPECT_EQ(Do(deliveries_, &DeliveryHandlers::ListDeliveries, request, &response).code(),
            absl::StatusCode::kNotFound);
  request.Clear();
  request.set_notification_id("rubbish");
  EXPECT_EQ(ReasonOf(Do(deliveries_, &DeliveryHandlers::ListDeliveries, request, &response)),
            "NOTIFICATION_NOT_FOUND");
}

TEST_F(DeliveryHandlersTest, ShowsAttempts) {
  const std::string id = DeliveryOf("hook").delivery_id();
  Record(id, DeliveryState::kDead, 500);
  v1::GetDeliveryRequest request;
  request.set_delivery_id(id);
  v1::GetDeliveryResponse response;
  ASSERT_TRUE(Do(deliveries_, &DeliveryHandlers::GetDelivery, request, &response).ok());
  EXPECT_EQ(response.delivery().state(), v1::DELIVERY_STATE_DEAD);
  EXPECT_TRUE(response.delivery().has_end_time());
  EXPECT_FALSE(response.delivery().has_next_attempt_time());
  EXPECT_EQ(response.delivery().last_http_status(), 500);
  ASSERT_EQ(response.attempts_size(), 1);
  EXPECT_EQ(response.attempts(0).http_status(), 500);
  EXPECT_EQ(response.attempts(0).error(), "it answered badly");
  EXPECT_EQ(response.attempts(0).latency().nanos(), 20'000'000);
  EXPECT_EQ(response.attempts(0).response_body(), "\xEF\xBF\xBD");
}

TEST_F(DeliveryHandlersTest, RetriesTheDeadButNotTheDelivered) {
  const std::string id = DeliveryOf("hook").delivery_id();
  Record(id, DeliveryState::kDead, 500);
  v1::RetryDeliveryRequest request;
  request.set_delivery_id(id);
  v1::RetryDeliveryResponse response;
  ASSERT_TRUE(Do(deliveries_, &DeliveryHandlers::RetryDelivery, request, &response).ok());
  EXPECT_EQ(response.delivery().state(), v1::DELIVERY_STATE_PENDING);

  Record(id, DeliveryState::kDelivered, 200);
  const absl::Status status = Do(deliveries_, &DeliveryHandlers::RetryDelivery, request, &response);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(status), "NOT_RETRYABLE");
}

TEST_F(DeliveryHandlersTest, UnknownIdsAreNotFound) {
  for (const std::string& id : {std::string(), std::string("dlv_x"), notification_id_,
                                store_.ids().Format(DeliveryId{12345})}) {
    v1::GetDeliveryRequest get;
    get.set_delivery_id(id);
    v1::GetDeliveryResponse got;
    EXPECT_EQ(ReasonOf(Do(deliveries_, &DeliveryHandlers::GetDelivery, get, &got)),
              "DELIVERY_NOT_FOUND");
    v1::RetryDeliveryRequest retry;
    retry.set_delivery_id(id);
    v1::RetryDeliveryResponse retried;
    EXPECT_EQ(ReasonOf(Do(deliveries_, &DeliveryHandlers::RetryDelivery, retry, &retried)),
              "DELIVERY_NOT_FOUND");
  }
}

TEST_F(DeliveryHandlersTest, OtherTenantsSeeNothing) {
  v1::GetDeliveryRequest get;
  get.set_tenant("other");
  get.set_delivery_id(DeliveryOf("hook").delivery_id());
  v1::GetDeliveryResponse got;
  EXPECT_EQ(Do(deliveries_, &DeliveryHandlers::GetDelivery, get, &got).code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace postrider
