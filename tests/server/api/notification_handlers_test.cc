#include "src/server/api/notification_handlers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/server/api/handler_fixture.h"

namespace postrider {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class NotificationHandlersTest : public HandlerFixture {
 protected:
  static v1::PublishNotificationRequest Json(const std::string& payload) {
    v1::PublishNotificationRequest request;
    request.mutable_notification()->set_notification_type("T");
    request.mutable_notification()->set_json_payload(payload);
    return request;
  }

  absl::Status Publish(const v1::PublishNotificationRequest& request,
                       v1::PublishNotificationResponse* response) {
    return Do(notifications_, &NotificationHandlers::PublishNotification, request, response);
  }

  // The body that was stored, or the status's text.
  std::string BodyOf(const v1::PublishNotificationRequest& request) {
    v1::PublishNotificationResponse response;
    const absl::Status status = Publish(request, &response);
    if (!status.ok()) return status.ToString();
    v1::GetNotificationRequest get;
    get.set_notification_id(response.notification_id());
    v1::GetNotificationResponse got;
    EXPECT_TRUE(Do(notifications_, &NotificationHandlers::GetNotification, get, &got).ok());
    return got.notification().json_body();
  }
};

v1::PublishNotificationRequest ThePagesExample() {
  v1::PublishNotificationRequest request;
  v1::Notification* notification = request.mutable_notification();
  notification->set_model_name("test");
  notification->set_model_id(28740);
  v1::RunCompleted* run = notification->mutable_run_completed();
  run->mutable_run()->mutable_started_at()->set_seconds(1706191450);
  run->mutable_run()->mutable_started_at()->set_nanos(157236000);
  v1::AlertGroup* group = run->add_performance_alerts();
  group->set_method("cbpe");
  group->add_alerts()->set_metric_name("specificity");
  group = run->add_other_alerts();
  group->set_method("univariate_drift");
  group->add_alerts()->set_metric_name("country");
  run->add_success("unseen_values");
  run->add_success("missing_values");
  run->set_report_link("https://test.app.nannyml.com/model/1");
  return request;
}

constexpr char kPagesPayload[] =
    R"({"run":{"started_at":"2024-01-25T14:04:10.157236"},"performance_alerts":{"cbpe":[{"metric_name":"specificity"}]},"other_alerts":{"univariate_drift":[{"metric_name":"country"}]},"success":["unseen_values","missing_values"],"report_link":"https://test.app.nannyml.com/model/1"})";
constexpr char kPagesHeader[] =
    R"({"header":{"model_name":"test","model_id":28740,"notification_type":"RUN_COMPLETED"},"payload":)";

TEST_F(NotificationHandlersTest, RendersThePagesExample) {
  EXPECT_EQ(BodyOf(ThePagesExample()), std::string(kPagesHeader) + kPagesPayload + "}");
}

TEST_F(NotificationHandlersTest, RendersThePagesExampleFromJson) {
  v1::PublishNotificationRequest request = Json(kPagesPayload);
  request.mutable_notification()->set_notification_type("RUN_COMPLETED");
  request.mutable_notification()->set_model_name("test");
  request.mutable_notification()->set_model_id(28740);
  EXPECT_EQ(BodyOf(request), std::string(kPagesHeader) + kPagesPayload + "}");
}

TEST_F(NotificationHandlersTest, AFailedRunSaysSo) {
  v1::PublishNotificationRequest request;
  v1::Run* run = request.mutable_notification()->mutable_run_completed()->mutable_run();
  run->set_status(v1::RUN_STATUS_FAILED);
  run->set_error("out of memory");
  EXPECT_THAT(BodyOf(request), HasSubstr(R"("run":{"status":"FAILED","error":"out of memory"})"));
}

TEST_F(NotificationHandlersTest, ACompletedRunOfAnotherTypeIsRefused) {
  v1::PublishNotificationRequest request;
  request.mutable_notification()->mutable_run_completed();
  v1::PublishNotificationResponse response;
  for (const char* type : {"RUN_STARTED", "run_completed", "no spaces"}) {
    request.mutable_notification()->set_notification_type(type);
    EXPECT_EQ(FieldsOf(Publish(request, &response)), "notification.notification_type") << type;
  }
  request.mutable_notification()->set_notification_type("RUN_COMPLETED");
  EXPECT_TRUE(Publish(request, &response).ok());
}

TEST_F(NotificationHandlersTest, JsonIsNestedAtMost512Levels) {
  const auto nested = [](int levels) {
    std::string text;
    for (int i = 0; i < levels; ++i) text += "{\"a\":";
    return text + "1" + std::string(static_cast<size_t>(levels), '}');
  };
  NotificationHandlers handlers(outbox_, 1 << 20);
  v1::PublishNotificationResponse response;
  EXPECT_TRUE(Do(handlers, &NotificationHandlers::PublishNotification, Json(nested(512)), &response)
                  .ok());
  const absl::Status deep =
      Do(handlers, &NotificationHandlers::PublishNotification, Json(nested(513)), &response);
  EXPECT_EQ(FieldsOf(deep), "notification.json_payload");
  EXPECT_THAT(std::string(deep.message()), HasSubstr("at byte 2560, expected at most 512 levels"));
}

TEST_F(NotificationHandlersTest, JsonKeepsItsNumbersAndOrder) {
  const std::string payload = R"({"z": 9007199254740993, "a":1e400,"m":[1.0,-0]})";
  EXPECT_THAT(BodyOf(Json(payload)), HasSubstr("\"payload\":" + payload + "}"));
}

TEST_F(NotificationHandlersTest, StructsHaveSortedKeysAndShortNumbers) {
  v1::PublishNotificationRequest request;
  request.mutable_notification()->set_notification_type("T");
  auto& fields = *request.mutable_notification()->mutable_struct_payload()->mutable_fields();
  fields["b"].set_number_value(100000);
  fields["a"].set_number_value(0.1);
  fields["c"].set_string_value("q\"é");
  fields["d"].mutable_list_value()->add_values()->set_bool_value(true);
  fields["d"].mutable_list_value()->add_values()->set_null_value(google::protobuf::NULL_VALUE);
  (*fields["e"].mutable_struct_value()->mutable_fields())["x"].set_number_value(1e300);
  EXPECT_THAT(
      BodyOf(request),
      HasSubstr(R"("payload":{"a":0.1,"b":100000,"c":"q\"é","d":[true,null],"e":{"x":1e+300}}})"));
}

TEST_F(NotificationHandlersTest, BadNotificationsNameTheirFields) {
  v1::PublishNotificationResponse response;
  const auto fields = [&](const v1::PublishNotificationRequest& request) {
    return FieldsOf(Publish(request, &response));
  };
  EXPECT_EQ(fields({}), "notification");
  v1::PublishNotificationRequest request;
  request.mutable_notification();
  EXPECT_EQ(fields(request), "notification.notification_type notification.payload");
  request.mutable_notification()->set_notification_type("no spaces");
  EXPECT_EQ(fields(request), "notification.notification_type notification.payload");

  const absl::Status array = Publish(Json("[1]"), &response);
  EXPECT_EQ(FieldsOf(array), "notification.json_payload");
  const absl::Status cut = Publish(Json("{\"a\":}"), &response);
  EXPECT_THAT(std::string(cut.message()), HasSubstr("5"));

  request = ThePagesExample();
  request.mutable_notification()->mutable_run_completed()->mutable_run()->set_status(
      static_cast<v1::RunStatus>(9));
  request.mutable_notification()
      ->mutable_run_completed()
      ->mutable_run()
      ->mutable_started_at()
      ->set_nanos(-1);
  request.mutable_notification()->mutable_run_completed()->add_other_alerts();
  EXPECT_EQ(fields(request),
            "notification.run_completed.run.started_at notification.run_completed.run.status "
            "notification.run_completed.other_alerts[1].method");

  v1::PublishNotificationRequest nan;
  nan.mutable_notification()->set_notification_type("T");
  (*nan.mutable_notification()->mutable_struct_payload()->mutable_fields())["a"]
      .mutable_list_value()
      ->add_values()
      ->set_number_value(std::numeric_limits<double>::infinity());
  EXPECT_EQ(fields(nan), "notification.struct_payload.a[0]");
  (*nan.mutable_notification()->mutable_struct_payload()->mutable_fields())["a"].clear_kind();
  EXPECT_EQ(fields(nan), "notification.struct_payload.a");
}

TEST_F(NotificationHandlersTest, TooLargeSaysBothSizes) {
  v1::PublishNotificationResponse response;
  const v1::PublishNotificationRequest request =
      Json("{\"a\":\"" + std::string(kMaxNotificationBytes, 'x') + "\"}");
  const absl::Status status = Publish(request, &response);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("1000"), HasSubstr("1084")));
}

TEST_F(NotificationHandlersTest, KeysMakePublishingIdempotent) {
  v1::PublishNotificationRequest request = Json("{}");
  request.set_idempotency_key("k");
  v1::PublishNotificationResponse first;
  v1::PublishNotificationResponse second;
  ASSERT_TRUE(Publish(request, &first).ok());
  ASSERT_TRUE(Publish(request, &second).ok());
  EXPECT_FALSE(first.duplicate());
  EXPECT_TRUE(second.duplicate());
  EXPECT_EQ(first.notification_id(), second.notification_id());

  request.mutable_notification()->set_json_payload("{\"a\":1}");
  const absl::Status status = Publish(request, &second);
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ReasonOf(status), "IDEMPOTENCY_KEY_REUSED");

  request.set_idempotency_key(std::string(256, 'k'));
  EXPECT_EQ(FieldsOf(Publish(request, &second)), "idempotency_key");
  request.set_idempotency_key(std::string(255, 'k'));
  EXPECT_TRUE(Publish(request, &second).ok());
}

TEST_F(NotificationHandlersTest, UnknownTenantsAreNotFound) {
  v1::PublishNotificationRequest request = Json("{}");
  request.set_tenant("nobody");
  v1::PublishNotificationResponse response;
  const absl::Status status = Publish(request, &response);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("nobody"));
}

TEST_F(NotificationHandlersTest, AFullOutboxIsToldOf) {
  outbox_.SetMaxNotifications(0);
  v1::PublishNotificationResponse response;
  EXPECT_EQ(Publish(Json("{}"), &response).code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(NotificationHandlersTest, BatchesAnswerInOrder) {
  Configure(AWebhook("hook", true));
  v1::BatchPublishNotificationsRequest batch;
  *batch.add_requests() = Json("{}");
  *batch.add_requests() = Json("oops");
  *batch.add_requests() = Json("{\"n\":2}");
  batch.mutable_requests(2)->set_tenant("nobody");
  *batch.add_requests() = Json("{\"n\":3}");
  v1::BatchPublishNotificationsResponse response;
  ASSERT_TRUE(
      Do(notifications_, &NotificationHandlers::BatchPublishNotifications, batch, &response).ok());
  ASSERT_EQ(response.results_size(), 4);
  EXPECT_EQ(response.results(0).response().delivery_count(), 1);
  EXPECT_EQ(response.results(1).status().code(), 3);
  EXPECT_EQ(response.results(2).status().code(), 5);
  EXPECT_FALSE(response.results(3).response().notification_id().empty());
  EXPECT_EQ(store_.notification_count(), 2u);
}

TEST_F(NotificationHandlersTest, BatchesAreBounded) {
  v1::BatchPublishNotificationsRequest batch;
  v1::BatchPublishNotificationsResponse response;
  EXPECT_TRUE(
      Do(notifications_, &NotificationHandlers::BatchPublishNotifications, batch, &response).ok());
  for (int i = 0; i <= NotificationHandlers::kMaxBatch; ++i) *batch.add_requests() = Json("{}");
  EXPECT_EQ(FieldsOf(Do(notifications_, &NotificationHandlers::BatchPublishNotifications, batch,
                        &response)),
            "requests");
  batch.mutable_requests()->RemoveLast();
  EXPECT_TRUE(
      Do(notifications_, &NotificationHandlers::BatchPublishNotifications, batch, &response).ok());
  EXPECT_EQ(response.results_size(), NotificationHandlers::kMaxBatch);
}

TEST_F(NotificationHandlersTest, ABatchThatTheOutboxRefusesFailsAsAWhole) {
  outbox_.FailWrites(1, absl::ResourceExhaustedError("full"));
  v1::BatchPublishNotificationsRequest batch;
  *batch.add_requests() = Json("{}");
  *batch.add_requests() = Json("oops");
  v1::BatchPublishNotificationsResponse response;
  EXPECT_EQ(
      Do(notifications_, &NotificationHandlers::BatchPublishNotifications, batch, &response).code(),
      absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(response.results_size(), 0);
}

TEST_F(NotificationHandlersTest, WhatOwesTooMuchSaysSoAndAsksForNoRetry) {
  store_.SetMaxDeliveriesPerNotification(1);
  Configure(AWebhook("one", true));
  Configure(AWebhook("two", true));
  v1::PublishNotificationResponse published;
  const absl::Status alone = Publish(Json("{}"), &published);
  EXPECT_EQ(alone.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(alone), "TOO_MANY_DELIVERIES");
  v1::BatchPublishNotificationsRequest batch;
  *batch.add_requests() = Json("{}");
  v1::BatchPublishNotificationsResponse response;
  ASSERT_TRUE(
      Do(notifications_, &NotificationHandlers::BatchPublishNotifications, batch, &response).ok());
  EXPECT_EQ(response.results(0).status().code(), 9);
  for (const google::protobuf::Any& detail : response.results(0).status().details()) {
    EXPECT_FALSE(detail.Is<google::rpc::RetryInfo>());
  }
  // A whole call.
  outbox_.FailWrites(1, absl::FailedPreconditionError("this call would owe 2000000 deliveries"));
  EXPECT_EQ(ReasonOf(Do(notifications_, &NotificationHandlers::BatchPublishNotifications, batch,
                        &response)),
            "TOO_MANY_DELIVERIES");
}

TEST_F(NotificationHandlersTest, Lists) {
  v1::PublishNotificationResponse response;
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(Publish(Json("{\"n\":" + std::to_string(i) + "}"), &response).ok());
    ids.push_back(response.notification_id());
    clock_.Advance(absl::Seconds(1));
  }
  v1::ListNotificationsRequest list;
  list.set_page_size(2);
  std::vector<std::string> seen;
  v1::ListNotificationsResponse page;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(Do(notifications_, &NotificationHandlers::ListNotifications, list, &page).ok());
    for (const auto& record : page.notifications()) seen.push_back(record.notification_id());
    if (page.next_page_token().empty()) break;
    list.set_page_token(page.next_page_token());
  }
  EXPECT_THAT(seen, ::testing::ElementsAreArray(ids.rbegin(), ids.rend()));

  // The token belongs to its filter; the tenant's two names are one filter.
  list.set_page_size(3);
  list.set_tenant("default");
  EXPECT_TRUE(Do(notifications_, &NotificationHandlers::ListNotifications, list, &page).ok());
  list.set_notification_type("OTHER");
  EXPECT_EQ(FieldsOf(Do(notifications_, &NotificationHandlers::ListNotifications, list, &page)),
            "page_token");
  list.clear_page_token();
  ASSERT_TRUE(Do(notifications_, &NotificationHandlers::ListNotifications, list, &page).ok());
  EXPECT_EQ(page.notifications_size(), 0);

  list.clear_notification_type();
  *list.mutable_end_time() = google::protobuf::Timestamp();
  list.mutable_end_time()->set_seconds(absl::ToUnixSeconds(clock_.Now()) - 2);
  ASSERT_TRUE(Do(notifications_, &NotificationHandlers::ListNotifications, list, &page).ok());
  EXPECT_EQ(page.notifications_size(), 3);
  list.mutable_end_time()->set_nanos(-1);
  EXPECT_EQ(FieldsOf(Do(notifications_, &NotificationHandlers::ListNotifications, list, &page)),
            "end_time");
}

TEST_F(NotificationHandlersTest, UnknownIdsAreNotFound) {
  v1::GetNotificationRequest get;
  v1::GetNotificationResponse got;
  for (const std::string& id :
       {std::string(), std::string("rubbish"), store_.ids().Format(NotificationId{12345})}) {
    get.set_notification_id(id);
    const absl::Status status =
        Do(notifications_, &NotificationHandlers::GetNotification, get, &got);
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(ReasonOf(status), "NOTIFICATION_NOT_FOUND");
  }
}

}  // namespace
}  // namespace postrider
