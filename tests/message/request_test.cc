#include "src/message/request.h"

#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace postrider {
namespace {

const absl::Time kNow = absl::FromUnixMicros(1614265330999999);

Webhook Hook() {
  Webhook webhook;
  webhook.url = "https://receiver.test/hook";
  webhook.headers = {{"X-Team", "blue"}, {"Authorization", "Bearer x", true}, {"X-Empty", ""}};
  webhook.timeout = absl::Seconds(3);
  webhook.secrets = {{*ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")}};
  return webhook;
}

std::shared_ptr<const std::string> Body() {
  return std::make_shared<const std::string>("{\"test\": 2432232314}");
}

TEST(RequestBuilderTest, SetsPostridersHeadersInOrder) {
  RequestBuilder builder(Hook(), "1.2.3");
  const auto body = Body();
  const TransferRequest request = builder.Build("msg_p5jXN8AQM9LWM0D4loKWxJek", kNow, body);
  EXPECT_EQ(request.headers,
            (std::vector<HttpHeader>{
                {"Content-Type", "application/json"},
                {"User-Agent", "postrider/1.2.3"},
                {"webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"},
                {"webhook-timestamp", "1614265330"},
                {"webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}}));
  EXPECT_EQ(request.body, body);
  EXPECT_FALSE(request.capture);
  ASSERT_NE(request.target, nullptr);
  EXPECT_EQ(request.target->url, "https://receiver.test/hook");
  EXPECT_EQ(request.target->timeout, absl::Seconds(3));
  EXPECT_EQ(request.target->headers,
            (std::vector<HttpHeader>{
                {"X-Team", "blue"}, {"Authorization", "Bearer x"}, {"X-Empty", ""}}));
}

TEST(RequestBuilderTest, RequestsShareTheirTarget) {
  RequestBuilder builder(Hook(), "1");
  EXPECT_EQ(builder.Build("a", kNow, Body()).target, builder.Build("b", kNow, Body()).target);
  EXPECT_EQ(builder.target(), builder.Build("c", kNow, Body()).target);
}

TEST(RequestBuilderTest, RequestsOfOneTenantHaveOneShare) {
  Webhook webhook = Hook();
  webhook.tenant = "one";
  const uint64_t share = RequestBuilder(webhook, "1").Build("a", kNow, Body()).share;
  webhook.name = "another webhook";
  EXPECT_EQ(BuildTestRequest(webhook, "1", kNow).share, share);
  webhook.tenant = "two";
  EXPECT_NE(RequestBuilder(webhook, "1").Build("a", kNow, Body()).share, share);
}

TEST(RequestBuilderTest, OutlivesTheWebhookAndCanBeMoved) {
  auto webhook = std::make_unique<Webhook>(Hook());
  RequestBuilder first(*webhook, "1");
  webhook.reset();
  RequestBuilder second = std::move(first);
  EXPECT_EQ(second.Build("a", kNow, Body()).headers.size(), 5u);
}

TEST(RequestBuilderTest, AWebhooksOwnContentTypeReplacesPostriders) {
  Webhook webhook = Hook();
  webhook.headers = {{"content-type", "application/x"}, {"USER-AGENT", "me"}};
  const TransferRequest request = RequestBuilder(webhook, "1").Build("a", kNow, Body());
  ASSERT_EQ(request.headers.size(), 3u);
  EXPECT_EQ(request.headers[0].name, "webhook-id");
  EXPECT_EQ(request.target->headers[0], (HttpHeader{"content-type", "application/x"}));
  EXPECT_EQ(request.target->headers[1], (HttpHeader{"USER-AGENT", "me"}));
}

TEST(RequestBuilderTest, SignsWithBothSecretsDuringARotation) {
  Webhook webhook = Hook();
  webhook.secrets.push_back({std::string(32, 'f'), kNow + absl::Hours(1)});
  RequestBuilder builder(webhook, "1");
  const TransferRequest during = builder.Build("a", kNow, Body());
  for (const SigningSecret& secret : webhook.secrets) {
    EXPECT_TRUE(
        VerifySignature(secret.key,
                        {during.headers[2].value, during.headers[3].value, during.headers[4].value},
                        *during.body, kNow)
            .ok());
  }
  const std::string after = builder.Build("a", kNow + absl::Hours(1), Body()).headers[4].value;
  EXPECT_EQ(after.find(' '), std::string::npos);
}

TEST(TestRequestTest, IsSignedAndCaptured) {
  const Webhook webhook = Hook();
  const TransferRequest request = BuildTestRequest(webhook, "1.2.3", kNow);
  EXPECT_EQ(*request.body, R"({"header":{"model_name":"postrider","model_id":0,)"
                           R"("notification_type":"WEBHOOK_VALIDATION"},"payload":{}})");
  EXPECT_TRUE(request.capture);
  ASSERT_EQ(request.headers.size(), 5u);
  const std::string id = request.headers[2].value;
  EXPECT_EQ(id.find('.'), std::string::npos);
  EXPECT_TRUE(VerifySignature(webhook.secrets[0].key,
                              {id, request.headers[3].value, request.headers[4].value},
                              *request.body, kNow)
                  .ok());
  EXPECT_NE(BuildTestRequest(webhook, "1.2.3", kNow + absl::Microseconds(1)).headers[2].value, id);
}

}  // namespace
}  // namespace postrider
