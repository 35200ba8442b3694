#include "src/delivery/attempt.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "src/delivery/retry.h"
#include "src/message/masking.h"
#include "src/message/retry_after.h"

namespace postrider {
namespace {

std::string ErrorOf(TransferResult& result) {
  if (result.error != TransferError::kNone) return std::move(result.message);
  const int status = result.http_status;
  if (status >= 300 && status < 400) {
    return absl::StrCat("the receiver answered ", status,
                        ": redirects are not followed, so configure the URL that it leads to");
  }
  if (status == 410) {
    return "the receiver answered 410 Gone: it does not want this webhook any more";
  }
  return absl::StrCat("the receiver answered ", status, ", not 2xx");
}

// What the outbox keeps.
absl::Time ToMicros(absl::Time time) { return absl::FromUnixMicros(absl::ToUnixMicros(time)); }

bool SameHeaders(const std::vector<Header>& a, const std::vector<Header>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Header& x, const Header& y) {
    return x.name == y.name && x.value == y.value;
  });
}

void JudgeFailure(const Webhook& webhook, const MadeAttempt& made, const Moment& now,
                  TransferResult& result, double uniform, Verdict& verdict) {
  const RetryPolicy& policy = webhook.retry_policy;
  AttemptOutcome& outcome = verdict.outcome;
  const int status = outcome.http_status;
  verdict.gone = status == 410;
  verdict.overloaded = status == 429 || status == 502 || status == 503 || status == 504;
  // What another receiver asked for is not asked of this one.
  if (verdict.speaks) verdict.retry_after = ParseRetryAfter(result.retry_after, now.wall);
  const absl::Duration own =
      made.early ? made.wait : RetryDelay(policy, outcome.budget_attempts, uniform);
  verdict.delay = std::max(own, verdict.retry_after.value_or(absl::ZeroDuration()));
  // What a receiver echoes is kept, and shown to whoever may read deliveries.
  const EchoMasker masker(made.sent.headers);
  outcome.error = masker.Mask(ErrorOf(result), /*cut=*/false);
  outcome.response_body = masker.Mask(std::move(result.body), result.body_truncated);
  const absl::Time next = now.steady + verdict.delay;
  const bool spent = !made.early && policy.max_attempts > 0 &&
                     outcome.budget_attempts >= policy.max_attempts;
  if (spent || next > outcome.budget_start + policy.max_age) {
    outcome.next_state = DeliveryState::kDead;
    outcome.end_reason = spent ? EndReason::kAttemptsSpent : EndReason::kAgeSpent;
    return;
  }
  outcome.next_state = DeliveryState::kPending;
  if (webhook.order == DeliveryOrder::kOrdered) {
    const absl::Time published = IdSequence::TimeOf(static_cast<int64_t>(made.delivery.id));
    outcome.next_due = ToMicros(std::min(made.delivery.due, published));
  } else {
    outcome.next_due = ToMicros(next);
  }
}

}  // namespace

bool SameReceiver(const Webhook& a, const Webhook& b) {
  return a.url == b.url && SameHeaders(a.headers, b.headers) && a.secrets == b.secrets;
}

bool SpeaksFor(const Webhook& sent, const Webhook& now, const TransferResult& result) {
  if (&sent == &now) return true;
  if (result.error == TransferError::kTimeout && sent.timeout < now.timeout) return false;
  return SameReceiver(sent, now);
}

Verdict Judge(const Webhook& webhook, const MadeAttempt& made, const Moment& now,
              TransferResult result, double uniform) {
  const OwedDelivery& delivery = made.delivery;
  Verdict verdict;
  verdict.speaks = SpeaksFor(made.sent, webhook, result);
  AttemptOutcome& outcome = verdict.outcome;
  outcome.delivery = delivery.id;
  outcome.webhook = delivery.webhook;
  outcome.number = delivery.attempts + 1;
  outcome.budget_attempts = delivery.budget_attempts + (made.early ? 0 : 1);
  outcome.budget_start = delivery.budget_attempts == 0 ? made.start : delivery.budget_start;
  outcome.start = now.ToWall(made.start);
  outcome.latency = result.latency;
  outcome.http_status = result.http_status;
  verdict.success =
      result.error == TransferError::kNone && result.http_status >= 200 && result.http_status < 300;
  if (verdict.success) {
    outcome.next_state = DeliveryState::kDelivered;
  } else {
    JudgeFailure(webhook, made, now, result, uniform, verdict);
  }
  return verdict;
}

}  // namespace postrider
