#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "google/rpc/error_details.pb.h"
#include "src/server/api/delivery_handlers.h"
#include "src/server/api/notification_handlers.h"
#include "src/server/api/status_mapping.h"
#include "src/server/api/webhook_handlers.h"
#include "src/server/api/webhook_tester.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_status_source.h"
#include "tests/support/fake_transport.h"
#include "tests/support/manual_executor.h"
#include "tests/support/memory_outbox.h"

namespace postrider {

// The handlers over an outbox in memory and a transport that the test answers, all on one thread.
class HandlerFixture : public ::testing::Test {
 protected:
  static constexpr size_t kMaxNotificationBytes = 1000;

  // A call that has begun. It ends when its turn comes in Run.
  template <typename Response>
  struct Call {
    std::optional<absl::Status> status;
    Response response;
  };

  // Lets the outbox and the executor do all they can.
  void Run() {
    while (outbox_.RunPending() + executor_.RunAll() > 0) {
    }
  }

  // Starts `handlers.method(request)` for a caller of context_, and runs. The request must live as
  // long as the call.
  template <typename Handlers, typename Request, typename Response>
  std::unique_ptr<Call<Response>> Start(Handlers& handlers,
                                        void (Handlers::*method)(const Request&, Response*,
                                                                 const CallContext&, HandlerDone),
                                        const Request& request) {
    auto call = std::make_unique<Call<Response>>();
    auto* raw = call.get();
    (handlers.*method)(request, &call->response, context_, [raw](absl::Status status) {
      ASSERT_FALSE(raw->status.has_value()) << "ended twice";
      raw->status = std::move(status);
    });
    Run();
    return call;
  }

  // The same for a call that ends without a test request.
  template <typename Handlers, typename Method, typename Request, typename Response>
  absl::Status Do(Handlers& handlers, Method method, const Request& request, Response* response) {
    auto call = Start(handlers, method, request);
    EXPECT_TRUE(call->status.has_value());
    *response = std::move(call->response);
    return call->status.value_or(absl::InternalError("has not ended"));
  }

  // Configures a webhook whose receiver answers the test request with 200.
  v1::ConfigureWebhookResponse Configure(const v1::Webhook& webhook) {
    v1::ConfigureWebhookRequest request;
    *request.mutable_webhook() = webhook;
    auto call = Start(webhooks_, &WebhookHandlers::ConfigureWebhook, request);
    transport_.SucceedAll(200);
    Run();
    EXPECT_TRUE(call->status.has_value() && call->status->ok())
        << call->status.value_or(absl::InternalError("has not ended"));
    return std::move(call->response);
  }

  static v1::Webhook AWebhook(const std::string& name, bool enabled) {
    v1::Webhook webhook;
    webhook.set_name(name);
    webhook.set_url("https://receiver.example/hook");
    webhook.set_enabled(enabled);
    return webhook;
  }

  // The fields that an INVALID_ARGUMENT names, with a space between.
  static std::string FieldsOf(const absl::Status& status) {
    std::string fields;
    const google::rpc::Status rpc = ToRpcStatus(status);
    for (const auto& any : rpc.details()) {
      google::rpc::BadRequest bad_request;
      if (!any.UnpackTo(&bad_request)) continue;
      for (const auto& violation : bad_request.field_violations()) {
        fields += (fields.empty() ? "" : " ") + violation.field();
      }
    }
    return fields;
  }

  static std::string ReasonOf(const absl::Status& status) {
    const google::rpc::Status rpc = ToRpcStatus(status);
    for (const auto& any : rpc.details()) {
      google::rpc::ErrorInfo info;
      if (any.UnpackTo(&info)) return info.reason();
    }
    return "";
  }

  FakeClock clock_;
  CallContext context_;
  SeededRandom random_{7};
  MemoryStore store_;
  MemoryOutbox outbox_{clock_, store_, nullptr};
  FakeTransport transport_;
  ManualExecutor executor_;
  WebhookTester tester_{{{&executor_, &transport_}}, clock_, "1.2.3"};
  FakeStatusSource status_;
  WebhookHandlers webhooks_{outbox_, tester_, status_, clock_, random_};
  NotificationHandlers notifications_{outbox_, kMaxNotificationBytes};
  DeliveryHandlers deliveries_{outbox_, status_, clock_};
};

}  // namespace postrider
