#include "src/delivery/attempt.h"

#include <optional>

#include "gtest/gtest.h"

namespace postrider {
namespace {

const absl::Time kNow = absl::FromUnixMicros(1706191450157236);

class AttemptTest : public testing::Test {
 protected:
  AttemptTest() {
    delivery_.id = DeliveryId{1789071409743396864};  // of about kNow
    delivery_.webhook = WebhookId{3};
    delivery_.due = kNow;
  }

  Verdict Answer(int status, std::string retry_after = "") {
    TransferResult result;
    result.http_status = status;
    result.retry_after = std::move(retry_after);
    result.body = "body";
    result.latency = absl::Milliseconds(7);
    return JudgeIt(std::move(result));
  }

  Verdict JudgeIt(TransferResult result) {
    const Webhook& sent = sent_.has_value() ? *sent_ : webhook_;
    Moment now;
    now.wall = now_ + wall_offset_;
    now.steady = now_;
    return Judge(webhook_, {delivery_, sent, start_, early_, wait_}, now, std::move(result), 0.5);
  }

  Webhook webhook_;
  // What the attempt was made with, when that is another.
  std::optional<Webhook> sent_;
  OwedDelivery delivery_;
  absl::Time start_ = kNow;
  bool early_ = false;
  absl::Duration wait_;
  absl::Duration wall_offset_;
  absl::Time now_ = kNow + absl::Seconds(1);
};

TEST_F(AttemptTest, Any2xxIsSuccess) {
  for (const int status : {200, 201, 202, 204, 299}) {
    const Verdict verdict = Answer(status);
    EXPECT_TRUE(verdict.success) << status;
    EXPECT_EQ(verdict.outcome.next_state, DeliveryState::kDelivered);
    EXPECT_EQ(verdict.outcome.error, "");
    EXPECT_EQ(verdict.outcome.response_body, "");
    EXPECT_EQ(verdict.outcome.http_status, status);
  }
}

TEST_F(AttemptTest, EverythingElseIsFailure) {
  for (const int status : {100, 300, 301, 400, 404, 410, 500}) {
    const Verdict verdict = Answer(status);
    EXPECT_FALSE(verdict.success) << status;
    EXPECT_EQ(verdict.outcome.next_state, DeliveryState::kPending);
    EXPECT_NE(verdict.outcome.error.find(std::to_string(status)), std::string::npos);
    EXPECT_EQ(verdict.outcome.response_body, "body");
    EXPECT_EQ(verdict.gone, status == 410);
  }
  EXPECT_NE(Answer(302).outcome.error.find("redirects are not followed"), std::string::npos);
}

TEST_F(AttemptTest, WhatTheReceiverEchoesOfASecretIsNotKept) {
  webhook_.headers = {{"Authorization", "Bearer topsecret", false}};
  TransferResult result;
  result.http_status = 401;
  result.body = "you sent Bearer topsecret";
  const Verdict verdict = JudgeIt(std::move(result));
  EXPECT_EQ(verdict.outcome.response_body, "you sent Bearer ***");
}

TEST_F(AttemptTest, AnEchoIsMaskedByWhatWasSentNotByWhatIsConfiguredNow) {
  webhook_.headers = {{"Authorization", "Bearer the-new-one", false}};
  sent_ = webhook_;
  sent_->headers[0].value = "Bearer the-old-one";
  TransferResult result;
  result.http_status = 401;
  result.body = "you sent Bearer the-old-one";
  EXPECT_EQ(JudgeIt(std::move(result)).outcome.response_body, "you sent Bearer ***");
}

TEST_F(AttemptTest, AnAnswerSpeaksForTheReceiverThatWasAsked) {
  TransferResult answer;
  answer.http_status = 500;
  TransferResult timeout;
  timeout.error = TransferError::kTimeout;
  const Webhook sent = webhook_;
  const auto speaks = [&](auto change, const TransferResult& result) {
    Webhook now = sent;
    change(now);
    return SpeaksFor(sent, now, result);
  };
  const auto more = [](Webhook& w) { w.max_concurrency = 99, w.version = 7; };
  const auto moved = [](Webhook& w) { w.url = "http://elsewhere/"; };
  const auto header = [](Webhook& w) { w.headers.push_back({"X-Key", "right", false}); };
  const auto secret = [](Webhook& w) { w.secrets.push_back({"another"}); };
  const auto longer = [](Webhook& w) { w.timeout += absl::Seconds(1); };
  const auto shorter = [](Webhook& w) { w.timeout -= absl::Seconds(1); };
  for (const TransferResult& result : {answer, timeout}) {
    EXPECT_TRUE(speaks(more, result));
    EXPECT_TRUE(speaks(shorter, result));
    EXPECT_FALSE(speaks(moved, result));
    EXPECT_FALSE(speaks(header, result));
    EXPECT_FALSE(speaks(secret, result));
  }
  EXPECT_TRUE(speaks(longer, answer));
  EXPECT_FALSE(speaks(longer, timeout)) << "with more time it may answer";
}

TEST_F(AttemptTest, WhatAnotherReceiverAskedForDoesNotDelay) {
  sent_ = webhook_;
  sent_->url = "http://before/";
  const Verdict verdict = Answer(503, "86400");
  EXPECT_FALSE(verdict.speaks);
  EXPECT_EQ(verdict.outcome.next_due, now_ + absl::Seconds(5));
}

TEST_F(AttemptTest, NoAnswerTellsTheTransportsSentence) {
  TransferResult result;
  result.error = TransferError::kTls;
  result.message = "the certificate has expired";
  const Verdict verdict = JudgeIt(std::move(result));
  EXPECT_FALSE(verdict.success);
  EXPECT_EQ(verdict.outcome.error, "the certificate has expired");
  EXPECT_EQ(verdict.outcome.http_status, 0);
}

TEST_F(AttemptTest, TheOutcomeSaysWhatWasAttempted) {
  delivery_.attempts = 6;
  delivery_.budget_attempts = 2;
  delivery_.budget_start = kNow - absl::Hours(1);
  const Verdict verdict = Answer(500);
  const AttemptOutcome& outcome = verdict.outcome;
  EXPECT_EQ(outcome.delivery, delivery_.id);
  EXPECT_EQ(outcome.webhook, delivery_.webhook);
  EXPECT_EQ(outcome.number, 7);
  EXPECT_EQ(outcome.budget_attempts, 3);
  EXPECT_EQ(outcome.budget_start, kNow - absl::Hours(1));
  EXPECT_EQ(outcome.start, start_);
  EXPECT_EQ(outcome.latency, absl::Milliseconds(7));
  // The third delay: 5 s, 15 s, 45 s.
  EXPECT_EQ(outcome.next_due, now_ + absl::Seconds(45));
}

TEST_F(AttemptTest, TheFirstAttemptStartsTheBudget) {
  EXPECT_EQ(Answer(500).outcome.budget_start, start_);
  EXPECT_EQ(Answer(500).outcome.budget_attempts, 1);
}

TEST_F(AttemptTest, RetryAfterIsAFloor) {
  EXPECT_EQ(Answer(500, "3600").outcome.next_due, now_ + absl::Hours(1));
  EXPECT_EQ(Answer(500, "1").outcome.next_due, now_ + absl::Seconds(5)) << "never earlier";
  EXPECT_EQ(Answer(500, "999999999").outcome.next_due, now_ + absl::Hours(24)) << "capped";
  EXPECT_EQ(Answer(500, "later").outcome.next_due, now_ + absl::Seconds(5));
}

TEST_F(AttemptTest, SomeAnswersSpeakForTheWholeWebhook) {
  for (const int status : {429, 502, 503, 504}) EXPECT_TRUE(Answer(status).overloaded) << status;
  for (const int status : {200, 404, 410, 500}) EXPECT_FALSE(Answer(status).overloaded) << status;
}

TEST_F(AttemptTest, TheLastAttemptOfTheBudgetIsDeadly) {
  webhook_.retry_policy.max_attempts = 3;
  delivery_.budget_start = kNow;
  delivery_.budget_attempts = 1;
  EXPECT_EQ(Answer(500).outcome.next_state, DeliveryState::kPending);
  delivery_.budget_attempts = 2;
  EXPECT_EQ(Answer(500).outcome.next_state, DeliveryState::kDead);
  EXPECT_EQ(Answer(200).outcome.next_state, DeliveryState::kDelivered);
  // What was spent before the budget was renewed does not count.
  delivery_.attempts = 100;
  delivery_.budget_attempts = 1;
  EXPECT_EQ(Answer(500).outcome.next_state, DeliveryState::kPending);
}

TEST_F(AttemptTest, ADeliveryDiesWhenTheNextAttemptWouldComeTooLate) {
  webhook_.retry_policy.max_age = absl::Hours(1);
  delivery_.budget_attempts = 1;
  delivery_.budget_start = now_ + absl::Seconds(15) - absl::Hours(1);
  EXPECT_EQ(Answer(500).outcome.next_state, DeliveryState::kPending) << "just in time";
  delivery_.budget_start -= absl::Microseconds(1);
  EXPECT_EQ(Answer(500).outcome.next_state, DeliveryState::kDead);
  // However long it has waited before its first attempt.
  delivery_.budget_attempts = 0;
  delivery_.due = kNow - absl::Hours(1000);
  EXPECT_EQ(Answer(500).outcome.next_state, DeliveryState::kPending);
  EXPECT_EQ(Answer(503, "7200").outcome.next_state, DeliveryState::kDead);
}

TEST_F(AttemptTest, TheEndSaysWhatWasSpent) {
  const auto reason = [&](int status) { return Answer(status).outcome.end_reason; };
  webhook_.retry_policy.max_attempts = 3;
  webhook_.retry_policy.max_age = absl::Hours(1);
  delivery_.budget_attempts = 2;
  delivery_.budget_start = kNow;
  EXPECT_EQ(reason(500), EndReason::kAttemptsSpent);
  EXPECT_EQ(reason(200), EndReason::kNone) << "it is delivered";
  // Both are: the attempts come first.
  delivery_.budget_start = kNow - absl::Hours(2);
  EXPECT_EQ(reason(500), EndReason::kAttemptsSpent);
  delivery_.budget_attempts = 1;
  EXPECT_EQ(reason(500), EndReason::kAgeSpent);
  // An early try spends no attempt, so it ends nothing but by the age.
  delivery_.budget_attempts = 3;
  early_ = true;
  EXPECT_EQ(reason(500), EndReason::kAgeSpent);
  delivery_.budget_start = kNow;
  EXPECT_EQ(reason(500), EndReason::kNone) << "it is pending still";
}

TEST_F(AttemptTest, DueTimesAreWholeMicroseconds) {
  now_ += absl::Nanoseconds(123);
  const absl::Time due = Answer(500).outcome.next_due;
  EXPECT_EQ(absl::FromUnixMicros(absl::ToUnixMicros(due)), due);
}

TEST_F(AttemptTest, AnOrderedDeliveryKeepsItsPlace) {
  webhook_.order = DeliveryOrder::kOrdered;
  const Verdict verdict = Answer(500);
  EXPECT_LE(verdict.outcome.next_due, delivery_.due);
  EXPECT_EQ(verdict.delay, absl::Seconds(5)) << "what the webhook waits for";
  // Also when a retry by hand has moved its due time behind that of others.
  delivery_.due = kNow + absl::Hours(5);
  EXPECT_LE(Answer(500).outcome.next_due, IdSequence::TimeOf(static_cast<int64_t>(delivery_.id)));
}

TEST_F(AttemptTest, AnEarlyTryIsRecordedAndChargedToNothing) {
  webhook_.retry_policy.max_attempts = 3;
  delivery_.attempts = 9;
  delivery_.budget_attempts = 2;
  delivery_.budget_start = kNow - absl::Hours(1);
  delivery_.due = now_ + absl::Hours(2);
  early_ = true;
  wait_ = absl::Hours(2);
  const AttemptOutcome outcome = Answer(500).outcome;
  EXPECT_EQ(outcome.number, 10);
  EXPECT_EQ(outcome.budget_attempts, 2) << "not to max_attempts";
  EXPECT_EQ(outcome.budget_start, kNow - absl::Hours(1));
  EXPECT_EQ(outcome.next_state, DeliveryState::kPending);
  EXPECT_EQ(outcome.next_due, delivery_.due) << "nor to its backoff";
  EXPECT_EQ(Answer(500, "14400").outcome.next_due, now_ + absl::Hours(4));
  EXPECT_EQ(Answer(200).outcome.next_state, DeliveryState::kDelivered);
  // The age counts as before.
  webhook_.retry_policy.max_age = absl::Minutes(150);
  EXPECT_EQ(Answer(500).outcome.next_state, DeliveryState::kDead);
}

TEST_F(AttemptTest, ASetWallClockIsShownAndBendsNothing) {
  webhook_.retry_policy.max_age = absl::Hours(1);
  delivery_.budget_attempts = 1;
  delivery_.budget_start = kNow - absl::Minutes(1);
  for (const absl::Duration offset : {-absl::Hours(1), absl::Hours(24 * 30)}) {
    wall_offset_ = offset;
    const AttemptOutcome outcome = Answer(500).outcome;
    EXPECT_EQ(outcome.next_state, DeliveryState::kPending);
    EXPECT_EQ(outcome.next_due, now_ + absl::Seconds(15));
    EXPECT_EQ(outcome.budget_start, delivery_.budget_start);
    EXPECT_EQ(outcome.start, start_ + offset);
    const absl::Time asked = now_ + offset + absl::Seconds(100);
    const Verdict verdict = Answer(503, absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", asked,
                                                         absl::UTCTimeZone()));
    ASSERT_TRUE(verdict.retry_after.has_value());
    EXPECT_NEAR(absl::ToDoubleSeconds(*verdict.retry_after), 100, 1);
  }
}

}  // namespace
}  // namespace postrider
