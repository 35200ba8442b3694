#include "src/outbox/sqlite/owed_sweep.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "src/base/status_macros.h"
#include "src/outbox/sqlite/row_codec.h"

namespace postrider {
namespace {

constexpr absl::Duration kInterval = absl::Minutes(10);
// Rows that one slice looks at; to look for a webhook costs as much as a few of them.
constexpr int kSliceRows = 500;
constexpr int kRowsPerWebhook = 5;
// A wait is as long as the backoff and its jitter, or as a receiver asks for: a day at most.
constexpr double kBackoffAndJitter = 1.25;
constexpr absl::Duration kLongestRequest = absl::Hours(25);
// Their bodies are read.
constexpr size_t kMendedRows = 50;

bool IsSpent(const OwedSweep::Walk& walk, absl::Time due, absl::Time budget_start, absl::Time now) {
  // Never attempted: `due` is when it was published, or when a caller asked for it again.
  const absl::Time start =
      budget_start == absl::InfiniteFuture() ? std::max(walk.disabled, due) : budget_start;
  return now > start + walk.max_age;
}

}  // namespace

absl::StatusOr<OwedSweep> OwedSweep::Create(Database& db) {
  OwedSweep s;
  ASSIGN_OR_RETURN(s.next_webhook_,
                   db.Prepare("SELECT id, max_backoff_us FROM webhook WHERE id > ?"
                              " AND deleted_us IS NULL ORDER BY id LIMIT 1"));
  ASSIGN_OR_RETURN(s.disabled_, db.Prepare("SELECT disabled_us, max_age_us FROM webhook"
                                           " WHERE id = ? AND enabled = 0 AND deleted_us IS NULL"));
  ASSIGN_OR_RETURN(s.owed_,
                   db.Prepare("SELECT id, due_us, budget_start_us FROM delivery"
                              " INDEXED BY delivery_owed WHERE state = 0 AND webhook_id = ?1"
                              " AND due_us >= ?2 AND (due_us > ?2 OR id > ?3)"
                              " ORDER BY due_us, id LIMIT ?4"));
  ASSIGN_OR_RETURN(s.end_, db.Prepare("UPDATE delivery SET state = 2, end_us = ?2, end_reason = 2"
                                      " WHERE id = ?1 AND state = 0"));
  ASSIGN_OR_RETURN(
      s.too_late_,
      db.Prepare("SELECT d.id, d.notification_id, d.attempts, d.budget_attempts,"
                 " d.budget_start_us, n.body FROM delivery d INDEXED BY delivery_owed"
                 " CROSS JOIN notification n ON n.id = d.notification_id"
                 " WHERE d.state = 0 AND d.webhook_id = ? AND d.due_us > ? LIMIT ?"));
  ASSIGN_OR_RETURN(s.mend_, db.Prepare("UPDATE delivery SET due_us = ?2, budget_start_us = ?3"
                                       " WHERE id = ?1"));
  return s;
}

absl::StatusOr<int64_t> OwedSweep::Run(absl::Time now, absl::Duration monotonic,
                                       Effects* effects) {
  int64_t ended = 0;
  for (int budget = kSliceRows; budget > 0;) {
    if (state_.walk) {
      ASSIGN_OR_RETURN(const int64_t some, EndSpent(&*state_.walk, budget, now));
      ended += some;
      if (some > 0) effects->swept().emplace_back(state_.walk->webhook, some);
      if (!state_.walk->done) return ended;
      state_.walk.reset();
    }
    const ResetOnExit reset(next_webhook_);
    next_webhook_.Bind(state_.webhook);
    ASSIGN_OR_RETURN(const bool found, next_webhook_.Next());
    if (!found) {
      state_ = State();
      state_.next = monotonic + kInterval;
      return ended;
    }
    const WebhookId webhook{next_webhook_.Int(0)};
    ASSIGN_OR_RETURN(const bool mended, MendDues(webhook, DurationFromMicros(next_webhook_.Int(1)),
                                                 now, effects));
    if (!mended) return ended;
    state_.webhook = webhook;
    ASSIGN_OR_RETURN(state_.walk, Begin(webhook));
    budget -= kRowsPerWebhook;
  }
  return ended;
}

absl::StatusOr<std::optional<OwedSweep::Walk>> OwedSweep::Begin(WebhookId webhook) {
  const ResetOnExit reset(disabled_);
  disabled_.Bind(webhook);
  ASSIGN_OR_RETURN(const bool found, disabled_.Next());
  if (!found) return std::nullopt;
  Walk walk;
  walk.webhook = webhook;
  walk.disabled = NullableTime(disabled_, 0);
  walk.max_age = DurationFromMicros(disabled_.Int(1));
  return walk;
}

absl::StatusOr<int64_t> OwedSweep::EndSpent(Walk* walk, int limit, absl::Time now) {
  std::vector<DeliveryId> spent;
  int looked_at = 0;
  owed_.Bind(walk->webhook, ToMicros(walk->after.due), walk->after.id, limit);
  while (true) {
    ASSIGN_OR_RETURN(const bool row, owed_.Next());
    if (!row) break;
    ++looked_at;
    walk->after = {TimeFromMicros(owed_.Int(1)), DeliveryId{owed_.Int(0)}};
    if (IsSpent(*walk, walk->after.due, NullableTime(owed_, 2), now - clock_offset_)) {
      spent.push_back(walk->after.id);
    }
  }
  for (const DeliveryId id : spent) {
    end_.Bind(id, ToMicros(now));
    RETURN_IF_ERROR(end_.Run());
  }
  walk->looked_at += looked_at;
  walk->done = looked_at < limit;
  return static_cast<int64_t>(spent.size());
}

absl::StatusOr<bool> OwedSweep::MendDues(WebhookId webhook, absl::Duration max_backoff,
                                         absl::Time wall, Effects* effects) {
  const absl::Time now = wall - clock_offset_;
  const absl::Time latest = now + std::max(kBackoffAndJitter * max_backoff, kLongestRequest);
  std::vector<OwedDelivery> mended;
  too_late_.Bind(webhook, ToMicros(latest),
                 static_cast<int64_t>(kMendedRows));
  while (true) {
    ASSIGN_OR_RETURN(const bool row, too_late_.Next());
    if (!row) break;
    mended.push_back({DeliveryId{too_late_.Int(0)}, webhook, NotificationId{too_late_.Int(1)}, now,
                      static_cast<int>(too_late_.Int(2)), static_cast<int>(too_late_.Int(3)),
                      NullableTime(too_late_, 4),
                      std::make_shared<const std::string>(too_late_.Bytes(5))});
    OwedDelivery& owed = mended.back();
    if (owed.budget_start != absl::InfiniteFuture()) {
      owed.budget_start = std::min(owed.budget_start, now);
    }
  }
  const bool all = mended.size() < kMendedRows;
  for (OwedDelivery& owed : mended) {
    mend_.Bind(owed.id, ToMicros(now), ToNullableMicros(owed.budget_start));
    RETURN_IF_ERROR(mend_.Run());
    effects->owed().push_back(std::move(owed));
  }
  return all;
}

}  // namespace postrider
