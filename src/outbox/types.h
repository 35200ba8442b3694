#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "src/base/ids.h"

// The rows of the outbox in the domain's words: plain values, copied and moved freely. What a field
// means to a caller of the API is said in proto/postrider/v1; here stands what it means inside.

namespace postrider {

struct Header {
  std::string name;
  std::string value;
  bool sensitive = false;

  bool operator==(const Header&) const = default;
};

struct RetryPolicy {
  absl::Duration initial_backoff = absl::Seconds(5);
  double multiplier = 3;
  absl::Duration max_backoff = absl::Hours(6);
  // Counted from the first attempt of the budget, so waiting behind others costs nothing.
  absl::Duration max_age = absl::Hours(72);
  // 0: only the age counts.
  int max_attempts = 0;
  // While the webhook is probed, the longest time from one probe to the next.
  absl::Duration max_probe_interval = absl::Minutes(1);

  bool operator==(const RetryPolicy&) const = default;
};

struct RateLimit {
  // 0: no limit.
  double per_second = 0;
  int burst = 1;

  bool operator==(const RateLimit&) const = default;
};

enum class DeliveryOrder { kUnordered = 0, kOrdered = 1 };

enum class ValidationState { kUnvalidated = 0, kValid = 1, kInvalid = 2 };

struct SigningSecret {
  // The raw bytes; the API shows them as whsec_ and base64.
  std::string key;
  // InfiniteFuture for the current one. An expired secret no longer signs.
  absl::Time expires = absl::InfiniteFuture();

  bool operator==(const SigningSecret&) const = default;
};

struct Webhook {
  // Given by the outbox on creation, never reused.
  WebhookId id{};
  std::string tenant;
  std::string name;
  std::string url;
  std::vector<Header> headers;
  bool enabled = false;
  // Empty: all.
  std::vector<std::string> notification_types;
  RetryPolicy retry_policy;
  absl::Duration timeout = absl::Seconds(15);
  int max_concurrency = 16;
  RateLimit rate_limit;
  DeliveryOrder order = DeliveryOrder::kUnordered;
  ValidationState validation_state = ValidationState::kUnvalidated;
  std::string disabled_reason;
  // The current one first.
  std::vector<SigningSecret> secrets;
  // Since when nothing but failures came back, or WebhookHealth::kRecovering; InfiniteFuture while
  // all is well.
  absl::Time failing_since = absl::InfiniteFuture();
  // Set by the outbox: creation, the last change by ModifyWebhook, and a number that grows with
  // each such change.
  absl::Time create_time = absl::InfinitePast();
  absl::Time update_time = absl::InfinitePast();
  int64_t version = 0;
};

// Why a delivery ended, but for one that was delivered. The numbers are those of the API.
enum class EndReason {
  kNone = 0,
  kAttemptsSpent = 1,
  kAgeSpent = 2,
  kExpired = 3,
  kRefused = 4,
  kCancelled = 5,
  kChannelDeleted = 6,
};

enum class DeliveryState { kPending = 0, kDelivered = 1, kDead = 2, kCancelled = 3 };

// Where a pending delivery stands in its webhook's queue: by due time, then by number.
struct OwedKey {
  absl::Time due = absl::InfinitePast();
  DeliveryId id{};

  // Not auto: absl::Time has no <=> of its own.
  std::strong_ordering operator<=>(const OwedKey&) const = default;
};

// A pending delivery with all that is needed to send it.
struct OwedDelivery {
  DeliveryId id{};
  WebhookId webhook{};
  NotificationId notification{};
  absl::Time due;
  // Attempts made in all, and those of them that the present budget has paid for.
  int attempts = 0;
  int budget_attempts = 0;
  // When the first attempt of the present budget began; InfiniteFuture before it.
  absl::Time budget_start = absl::InfiniteFuture();
  // Shared by the deliveries of a notification.
  std::shared_ptr<const std::string> body;
  // A caller asks for it now. Told by OnOwed only: no row knows it.
  bool retried = false;

  OwedKey key() const { return {due, id}; }
};

struct NewNotification {
  std::string tenant;
  std::string type;
  std::shared_ptr<const std::string> body;
  // Empty: none.
  std::string idempotency_key;
};

struct Published {
  NotificationId id{};
  bool duplicate = false;
  int delivery_count = 0;
};

struct Notification {
  NotificationId id{};
  std::string tenant;
  std::string type;
  std::string body;
  std::string idempotency_key;
  absl::Time create_time;
  int delivery_count = 0;
};

// What came of one attempt, and what the delivery becomes by it.
struct AttemptOutcome {
  DeliveryId delivery{};
  WebhookId webhook{};
  // Of the delivery, from 1; and how many of them the present budget has paid for, this included.
  int number = 1;
  int budget_attempts = 1;
  absl::Time budget_start;
  absl::Time start;
  absl::Duration latency;
  // 0: no answer.
  int http_status = 0;
  // Empty on success.
  std::string error;
  // The beginning of the answer's body; empty on success.
  std::string response_body;
  // kDelivered, kPending (then `next_due` counts) or kDead.
  DeliveryState next_state = DeliveryState::kDelivered;
  absl::Time next_due = absl::InfinitePast();
  // Counts for kDead.
  EndReason end_reason = EndReason::kNone;
};

// A webhook began to fail, or works again.
struct WebhookHealth {
  // As failing_since: it works again, and what it had put off is tried. Later than any time, also
  // when a clock that was set has moved it.
  static constexpr absl::Time kRecovering = absl::FromUnixSeconds(253402300799);  // 9999-12-31

  WebhookId webhook{};
  absl::Time failing_since = absl::InfiniteFuture();
};

struct OutcomeBatch {
  std::vector<AttemptOutcome> outcomes;
  std::vector<WebhookHealth> health;
};

struct Delivery {
  DeliveryId id{};
  NotificationId notification{};
  WebhookId webhook{};
  std::string tenant;
  std::string webhook_name;
  std::string notification_type;
  DeliveryState state = DeliveryState::kPending;
  int attempts = 0;
  absl::Time create_time;
  // Counts while pending.
  absl::Time due;
  // InfiniteFuture while pending.
  absl::Time end_time = absl::InfiniteFuture();
  EndReason end_reason = EndReason::kNone;
  int last_http_status = 0;
  std::string last_error;
};

struct Attempt {
  int number = 1;
  absl::Time start;
  absl::Duration latency;
  int http_status = 0;
  std::string error;
  std::string response_body;
};

struct DeliveryWithAttempts {
  Delivery delivery;
  std::vector<Attempt> attempts;
};

struct NotificationFilter {
  std::string tenant;
  // Empty: all.
  std::string type;
  absl::Time start = absl::InfinitePast();
  absl::Time end = absl::InfiniteFuture();
  // Only numbers below this one: where the page before ended.
  std::optional<NotificationId> before;
  int limit = 50;
};

struct DeliveryFilter {
  std::string tenant;
  // Empty: every webhook.
  std::string webhook_name;
  std::optional<NotificationId> notification;
  std::optional<DeliveryState> state;
  absl::Time start = absl::InfinitePast();
  absl::Time end = absl::InfiniteFuture();
  std::optional<DeliveryId> before;
  int limit = 50;
};

template <typename Row, typename Id>
struct Page {
  std::vector<Row> rows;
  // Where the next page begins (its `before`); nothing on the last page. A page may be short, even
  // empty, while there is more: a reader looks at a bounded number of rows.
  std::optional<Id> next_before;
};

using NotificationPage = Page<Notification, NotificationId>;
using DeliveryPage = Page<Delivery, DeliveryId>;

struct WebhookPage {
  std::vector<Webhook> rows;
  // The next page begins after this name; empty on the last page.
  std::string next_after;
};

struct OwedPage {
  // In the order of their keys.
  std::vector<OwedDelivery> rows;
  // There were no more at the time of the reading.
  bool complete = true;
};

}  // namespace postrider
