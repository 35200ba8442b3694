#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "tests/server/api/handler_fixture.h"

namespace postrider {

// Configures, shows and tests webhooks through their handlers.
class WebhookHandlersTest : public HandlerFixture {
 protected:
  absl::Status TryConfigure(const v1::Webhook& webhook) {
    v1::ConfigureWebhookRequest request;
    *request.mutable_webhook() = webhook;
    v1::ConfigureWebhookResponse response;
    return Do(webhooks_, &WebhookHandlers::ConfigureWebhook, request, &response);
  }

  v1::Webhook Get(const std::string& name) {
    v1::GetWebhookRequest request;
    request.set_name(name);
    v1::GetWebhookResponse response;
    const absl::Status status = Do(webhooks_, &WebhookHandlers::GetWebhook, request, &response);
    EXPECT_TRUE(status.ok()) << status;
    return response.webhook();
  }

  // The stored row, secrets included.
  Webhook Row(const std::string& name) { return *store_.GetWebhook("default", name); }

  v1::ValidationResult Validate(const v1::ValidateWebhookRequest& request, TransferResult result) {
    auto call = Start(webhooks_, &WebhookHandlers::ValidateWebhook, request);
    EXPECT_EQ(transport_.pending_count(), 1u);
    transport_.Answer(transport_.sent() - 1, std::move(result));
    Run();
    EXPECT_TRUE(call->status.has_value() && call->status->ok());
    return call->response.validation();
  }

  static TransferResult Answered(int status) {
    TransferResult result;
    result.http_status = status;
    result.body = "body";
    return result;
  }
};

}  // namespace postrider
