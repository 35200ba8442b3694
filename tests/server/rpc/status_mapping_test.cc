#include "src/server/api/status_mapping.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "google/rpc/error_details.pb.h"
#include "src/server/api/errors.h"
#include "src/server/rpc/grpc_status.h"

namespace postrider {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// The detail of that type; an empty one when there is none.
template <typename Detail>
Detail DetailOf(const google::rpc::Status& status, bool* found) {
  Detail detail;
  *found = false;
  for (const auto& any : status.details()) {
    if (any.UnpackTo(&detail)) *found = true;
  }
  return detail;
}

TEST(StatusMappingTest, OkIsOk) {
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  EXPECT_EQ(ToRpcStatus(absl::OkStatus()).code(), 0);
}

TEST(StatusMappingTest, CodesAndMessagesAreKept) {
  const grpc::Status status = ToGrpcStatus(absl::NotFoundError("there is no webhook \"x\""));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "there is no webhook \"x\"");
  google::rpc::Status rpc;
  ASSERT_TRUE(rpc.ParseFromString(status.error_details()));
  EXPECT_EQ(rpc.code(), 5);
  EXPECT_EQ(rpc.message(), status.error_message());
}

TEST(StatusMappingTest, FieldViolationsBecomeABadRequest) {
  FieldViolations violations;
  violations.Add("webhook.url", "must be absolute");
  violations.Add("webhook.headers[2].name", "must be a token");
  const absl::Status status = violations.ToStatus();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("webhook.url: must be absolute"));

  bool found = false;
  const auto bad_request = DetailOf<google::rpc::BadRequest>(ToRpcStatus(status), &found);
  ASSERT_TRUE(found);
  ASSERT_EQ(bad_request.field_violations_size(), 2);
  EXPECT_EQ(bad_request.field_violations(1).field(), "webhook.headers[2].name");
  EXPECT_EQ(bad_request.field_violations(1).description(), "must be a token");
  const auto info = DetailOf<google::rpc::ErrorInfo>(ToRpcStatus(status), &found);
  ASSERT_TRUE(found);
  EXPECT_EQ(info.reason(), "INVALID_FIELDS");
  EXPECT_EQ(info.domain(), "postrider");
}

TEST(StatusMappingTest, ErrorsHaveAnErrorInfo) {
  bool found = false;
  auto info = DetailOf<google::rpc::ErrorInfo>(
      ToRpcStatus(WithReason(absl::AbortedError("x"), "ETAG_MISMATCH")), &found);
  ASSERT_TRUE(found);
  EXPECT_EQ(info.reason(), "ETAG_MISMATCH");
  EXPECT_EQ(info.domain(), "postrider");

  info = DetailOf<google::rpc::ErrorInfo>(ToRpcStatus(absl::NotFoundError("x")), &found);
  ASSERT_TRUE(found);
  EXPECT_EQ(info.reason(), "NOT_FOUND");
}

TEST(StatusMappingTest, WhatCanBeTriedAgainSaysWhen) {
  for (const absl::Status& status :
       {absl::ResourceExhaustedError("full"), absl::UnavailableError("starting")}) {
    bool found = false;
    const auto retry = DetailOf<google::rpc::RetryInfo>(ToRpcStatus(status), &found);
    ASSERT_TRUE(found);
    EXPECT_EQ(retry.retry_delay().seconds(), 1);
  }
}

TEST(StatusMappingTest, WhatWillNotSucceedLaterDoesNotSayWhen) {
  for (const absl::Status& status :
       {MalformedRequest(), RequestTooLarge(2, 1), InvalidField("a", "is wrong"),
        absl::NotFoundError("x"), WithReason(absl::AbortedError("x"), "ETAG_MISMATCH")}) {
    bool found = false;
    DetailOf<google::rpc::RetryInfo>(ToRpcStatus(status), &found);
    EXPECT_FALSE(found) << status;
  }
}

TEST(StatusMappingTest, InnerErrorsKeepTheirWordsToTheLog) {
  for (const absl::Status& status :
       {absl::InternalError("/var/lib/postrider"), absl::UnknownError("/var/lib/postrider"),
        absl::DataLossError("/var/lib/postrider")}) {
    EXPECT_TRUE(IsInnerError(status));
    const google::rpc::Status rpc = ToRpcStatus(status);
    EXPECT_EQ(rpc.code(), static_cast<int>(status.code()));
    EXPECT_THAT(rpc.message(), Not(HasSubstr("/var/lib")));
    EXPECT_FALSE(rpc.message().empty());
  }
}

TEST(StatusMappingTest, TrailersStaySmall) {
  FieldViolations violations;
  for (int i = 0; i < 1000; ++i) {
    violations.Add("webhook.notification_types[" + std::to_string(i) + "]", std::string(300, 'x'));
  }
  const grpc::Status status = ToGrpcStatus(violations.ToStatus());
  EXPECT_LT(status.error_details().size(), 5100u);
  google::rpc::Status rpc;
  ASSERT_TRUE(rpc.ParseFromString(status.error_details()));
  bool found = false;
  // What goes first is left out last.
  EXPECT_EQ(DetailOf<google::rpc::ErrorInfo>(rpc, &found).reason(), "INVALID_FIELDS");

  const grpc::Status long_one = ToGrpcStatus(absl::NotFoundError(std::string(20000, 'x')));
  EXPECT_LT(long_one.error_message().size(), 1100u);
}

TEST(ErrorsTest, QuotedTextIsEscapedAndCut) {
  EXPECT_EQ(Quoted("a\"b\n"), "\"a\\\"b\\n\"");
  EXPECT_EQ(Quoted("é"), "\"é\"");
  // The 100th byte is in the middle of a character.
  EXPECT_EQ(Quoted(std::string(99, 'a') + "éé"), "\"" + std::string(99, 'a') + "...\"");
}

}  // namespace
}  // namespace postrider
