#include "src/server/api/webhook_tester.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "src/message/request.h"

namespace postrider {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

Webhook AWebhook() {
  Webhook webhook;
  webhook.url = "https://receiver.example/hook?a=b";
  webhook.headers = {{"Authorization", "Bearer very-secret", true}, {"X-Plain", "plain", false}};
  webhook.secrets = {{"0123456789abcdef0123456789abcdef"}};
  return webhook;
}

v1::ValidationResult Describe(const TransferResult& result) {
  const Webhook webhook = AWebhook();
  return DescribeTest(webhook, BuildTestRequest(webhook, "1.2.3", absl::UnixEpoch()), result);
}

TransferResult Answered(int status) {
  TransferResult result;
  result.http_status = status;
  result.latency = absl::Milliseconds(1500);
  return result;
}

TEST(DescribeTestTest, Exactly200IsValid) {
  const v1::ValidationResult result = Describe(Answered(200));
  EXPECT_TRUE(result.valid());
  EXPECT_EQ(result.error(), "");
  EXPECT_EQ(result.http_status(), 200);
  EXPECT_EQ(result.latency().seconds(), 1);
  EXPECT_EQ(result.latency().nanos(), 500'000'000);
  EXPECT_TRUE(result.has_response());
}

TEST(DescribeTestTest, OtherAnswersSayWhatToDo) {
  const std::pair<int, const char*> cases[] = {
      {100, "answer 200"},     {201, "exactly 200"},   {204, "exactly 200"}, {301, "redirects"},
      {400, "see its answer"}, {401, "credentials"},   {403, "credentials"}, {404, "check the URL"},
      {405, "POST"},           {410, "check the URL"}, {429, "later"},       {500, "its log"},
      {503, "its log"}};
  for (const auto& [status, advice] : cases) {
    const v1::ValidationResult result = Describe(Answered(status));
    EXPECT_FALSE(result.valid());
    EXPECT_EQ(result.http_status(), status);
    EXPECT_THAT(result.error(), AllOf(HasSubstr(std::to_string(status)), HasSubstr(advice)));
  }
}

TEST(DescribeTestTest, ARedirectNamesItsTarget) {
  TransferResult moved = Answered(301);
  moved.response_headers = {{"Location", "https://elsewhere.example/"}};
  EXPECT_THAT(Describe(moved).error(), HasSubstr("https://elsewhere.example/"));
}

TEST(DescribeTestTest, NoAnswerHasTheTransportsSentence) {
  TransferResult result;
  result.error = TransferError::kResolve;
  result.message = "receiver.example has no address: check the name";
  const v1::ValidationResult described = Describe(result);
  EXPECT_FALSE(described.valid());
  EXPECT_EQ(described.http_status(), 0);
  EXPECT_EQ(described.error(), result.message);
  EXPECT_FALSE(described.has_response());
  // What would have been sent.
  EXPECT_EQ(described.request().headers_size(), 7);

  result.message.clear();
  EXPECT_FALSE(Describe(result).error().empty());
}

TEST(DescribeTestTest, ShowsWhatWasSentWithSecretsMasked) {
  TransferResult answer = Answered(200);
  answer.sent_headers = {{"Host", "receiver.example"},
                         {"authorization", "Bearer very-secret"},
                         {"X-Plain", "plain"},
                         {"webhook-signature", "v1,abc"}};
  answer.response_headers = {{"X-Echo", "Bearer very-secret"}};
  answer.body = "you sent Bearer very-secret";
  const v1::ValidationResult result = Describe(answer);
  EXPECT_EQ(result.request().method(), "POST");
  EXPECT_EQ(result.request().url(), "https://receiver.example/hook?a=b");
  ASSERT_EQ(result.request().headers_size(), 4);
  EXPECT_EQ(result.request().headers(0).value(), "receiver.example");
  EXPECT_EQ(result.request().headers(1).value(), "***");
  EXPECT_TRUE(result.request().headers(1).sensitive());
  EXPECT_EQ(result.request().headers(3).value(), "v1,abc");
  EXPECT_THAT(result.request().body(), HasSubstr("WEBHOOK_VALIDATION"));
  EXPECT_THAT(result.DebugString(), Not(HasSubstr("very-secret")));
}

TEST(DescribeTestTest, ABodyThatIsNotUtf8IsMadeSo) {
  TransferResult answer = Answered(500);
  answer.body = "a\xFF";
  answer.body_truncated = true;
  answer.response_headers = {{"X", "\xFE"}};
  const v1::ValidationResult result = Describe(answer);
  EXPECT_EQ(result.response().body(), "a\xEF\xBF\xBD");
  EXPECT_TRUE(result.response().body_truncated());
  EXPECT_EQ(result.response().headers(0).value(), "\xEF\xBF\xBD");
}

}  // namespace
}  // namespace postrider
