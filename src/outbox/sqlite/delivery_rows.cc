#include "src/outbox/sqlite/delivery_rows.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "src/base/status_macros.h"
#include "src/outbox/sqlite/row_codec.h"

namespace postrider {
namespace {

bool ByNumber(const Attempt& a, const Attempt& b) { return a.number < b.number; }

}  // namespace

// ---- DeliveryReader

absl::StatusOr<DeliveryReader> DeliveryReader::Create(Database& db) {
  DeliveryReader r;
  ASSIGN_OR_RETURN(
      r.find_,
      db.Prepare("SELECT d.notification_id, d.webhook_id, t.name, w.name, n.type, d.state,"
                 " d.attempts, n.create_us, d.due_us, d.end_us, d.last_http_status, a.error,"
                 " d.budget_attempts, d.budget_start_us, w.deleted_us, d.success_start_us,"
                 " d.success_latency_us, d.end_reason"
                 " FROM delivery d"
                 " CROSS JOIN notification n ON n.id = d.notification_id"
                 " CROSS JOIN webhook w ON w.id = d.webhook_id"
                 " CROSS JOIN tenant t ON t.id = w.tenant_id"
                 " LEFT JOIN attempt a ON a.delivery_id = d.id AND a.number = d.attempts"
                 " WHERE d.id = ?"));
  ASSIGN_OR_RETURN(
      r.attempts_,
      db.Prepare("SELECT number, start_us, latency_us, http_status, error, response_body"
                 " FROM attempt WHERE delivery_id = ? ORDER BY number"));
  return r;
}

absl::StatusOr<std::optional<DeliveryRow>> DeliveryReader::Find(DeliveryId id) {
  const ResetOnExit reset(find_);
  find_.Bind(id);
  ASSIGN_OR_RETURN(const bool found, find_.Next());
  if (!found) return std::optional<DeliveryRow>();
  std::optional<DeliveryRow> row(std::in_place);
  Delivery& d = row->delivery;
  d.id = id;
  d.notification = NotificationId{find_.Int(0)};
  d.webhook = WebhookId{find_.Int(1)};
  d.tenant = find_.Bytes(2);
  d.webhook_name = find_.Bytes(3);
  d.notification_type = find_.Bytes(4);
  d.state = static_cast<DeliveryState>(find_.Int(5));
  d.attempts = static_cast<int>(find_.Int(6));
  d.create_time = TimeFromMicros(find_.Int(7));
  d.due = TimeFromMicros(find_.Int(8));
  d.end_time = NullableTime(find_, 9);
  d.last_http_status = static_cast<int>(find_.Int(10));
  d.last_error = find_.Bytes(11);
  d.end_reason = static_cast<EndReason>(find_.Int(17));
  row->budget_attempts = static_cast<int>(find_.Int(12));
  row->budget_start = NullableTime(find_, 13);
  row->webhook_deleted = !find_.IsNull(14);
  if (!find_.IsNull(15)) {
    row->success = Attempt{d.attempts,
                           TimeFromMicros(find_.Int(15)),
                           DurationFromMicros(find_.Int(16)),
                           d.last_http_status,
                           "",
                           ""};
  }
  return row;
}

absl::StatusOr<std::vector<Attempt>> DeliveryReader::Attempts(const DeliveryRow& row) {
  const ResetOnExit reset(attempts_);
  std::vector<Attempt> attempts;
  attempts_.Bind(row.delivery.id);
  while (true) {
    ASSIGN_OR_RETURN(const bool found, attempts_.Next());
    if (!found) break;
    attempts.push_back({static_cast<int>(attempts_.Int(0)), TimeFromMicros(attempts_.Int(1)),
                        DurationFromMicros(attempts_.Int(2)), static_cast<int>(attempts_.Int(3)),
                        std::string(attempts_.Bytes(4)), std::string(attempts_.Bytes(5))});
  }
  if (row.success) {
    attempts.insert(std::upper_bound(attempts.begin(), attempts.end(), *row.success, ByNumber),
                    *row.success);
  }
  return attempts;
}

// ---- DeliveryTable

absl::StatusOr<DeliveryTable> DeliveryTable::Create(Database& db, AttemptTable* attempts) {
  DeliveryTable t;
  t.db_ = &db;
  t.attempts_ = attempts;
  ASSIGN_OR_RETURN(t.reader_, DeliveryReader::Create(db));
  // The hot one: a delivery that succeeds at once costs this and no attempt row.
  ASSIGN_OR_RETURN(t.succeed_,
                   db.Prepare("UPDATE delivery SET state = 1, attempts = ?2, budget_attempts = ?3,"
                              " budget_start_us = ?4, end_us = ?5, last_http_status = ?6,"
                              " success_start_us = ?7, success_latency_us = ?8"
                              " WHERE id = ?1 AND state = 0 AND attempts < ?2"));
  ASSIGN_OR_RETURN(t.fail_,
                   db.Prepare("UPDATE delivery SET state = ?2, attempts = max(attempts, ?3),"
                              " budget_attempts = ?4, budget_start_us = ?5, end_us = ?6,"
                              " last_http_status = ?7, due_us = ?8, end_reason = ?9"
                              " WHERE id = ?1 AND state = 0"));
  ASSIGN_OR_RETURN(t.late_,
                   db.Prepare("UPDATE delivery SET state = ?2, attempts = max(attempts, ?3),"
                              " end_us = ?4, last_http_status = ?5, end_reason = ?6,"
                              " success_start_us = NULL, success_latency_us = NULL"
                              " WHERE id = ?1"));
  ASSIGN_OR_RETURN(t.retry_,
                   db.Prepare("UPDATE delivery SET state = 0, due_us = ?2, budget_attempts = ?3,"
                              " budget_start_us = ?4, end_us = NULL, end_reason = 0"
                              " WHERE id = ?1"));
  ASSIGN_OR_RETURN(t.body_, db.Prepare("SELECT body FROM notification WHERE id = ?"));
  return t;
}

absl::Status DeliveryTable::Record(const AttemptOutcome& outcome, absl::Time now,
                                   bool* ended) {
  *ended = false;
  if (outcome.next_state == DeliveryState::kDelivered) return RecordSuccess(outcome, now, ended);
  return RecordFailure(outcome, now, ended);
}

absl::Status DeliveryTable::RecordSuccess(const AttemptOutcome& outcome, absl::Time now,
                                          bool* ended) {
  succeed_.Bind(outcome.delivery, outcome.number, outcome.budget_attempts,
                ToNullableMicros(outcome.budget_start), ToMicros(now), outcome.http_status,
                ToMicros(outcome.start), ToMicros(outcome.latency));
  RETURN_IF_ERROR(succeed_.Run());
  *ended = db_->Changes() == 1;
  return *ended ? absl::OkStatus() : RecordLate(outcome, now, ended);
}

absl::Status DeliveryTable::RecordFailure(const AttemptOutcome& outcome, absl::Time now,
                                          bool* ended) {
  const bool pending = outcome.next_state == DeliveryState::kPending;
  std::optional<int64_t> end_us;
  if (!pending) end_us = ToMicros(now);
  fail_.Bind(outcome.delivery, outcome.next_state, outcome.number, outcome.budget_attempts,
             ToNullableMicros(outcome.budget_start), end_us, outcome.http_status,
             ToMicros(pending ? outcome.next_due : now), outcome.end_reason);
  RETURN_IF_ERROR(fail_.Run());
  if (db_->Changes() == 0) return RecordLate(outcome, now, ended);
  *ended = !pending;
  return attempts_->Insert(outcome.webhook, outcome.delivery,
                           {outcome.number, outcome.start, outcome.latency, outcome.http_status,
                            outcome.error, outcome.response_body});
}

// The delivery is gone, or no longer pending (cancelled meanwhile, or delivered by another
// attempt), or its numbers have a gap. Then every attempt gets a row.
absl::Status DeliveryTable::RecordLate(const AttemptOutcome& outcome, absl::Time now,
                                       bool* ended) {
  ASSIGN_OR_RETURN(const std::optional<DeliveryRow> row, reader_.Find(outcome.delivery));
  if (!row) return absl::OkStatus();
  const WebhookId webhook = row->delivery.webhook;
  if (row->success) RETURN_IF_ERROR(attempts_->Insert(webhook, outcome.delivery, *row->success));
  RETURN_IF_ERROR(
      attempts_->Insert(webhook, outcome.delivery,
                        {outcome.number, outcome.start, outcome.latency, outcome.http_status,
                         outcome.error, outcome.response_body}));
  const bool delivered = outcome.next_state == DeliveryState::kDelivered;
  *ended = delivered && row->delivery.state == DeliveryState::kPending;
  late_.Bind(outcome.delivery, delivered ? DeliveryState::kDelivered : row->delivery.state,
             outcome.number, ToMicros(delivered ? now : row->delivery.end_time),
             outcome.http_status,
             delivered ? EndReason::kNone : row->delivery.end_reason);
  return late_.Run();
}

absl::Status DeliveryTable::Retry(const std::string& tenant, DeliveryId id, absl::Time due,
                                  Effects* effects, absl::StatusOr<Delivery>* result) {
  ASSIGN_OR_RETURN(std::optional<DeliveryRow> row, reader_.Find(id));
  if (!row || row->delivery.tenant != tenant) {
    *result = absl::NotFoundError("the tenant has no delivery of this id");
    return absl::OkStatus();
  }
  Delivery& delivery = row->delivery;
  if (delivery.state == DeliveryState::kDelivered) {
    *result = absl::FailedPreconditionError("the delivery was made: there is nothing to retry");
    return absl::OkStatus();
  }
  if (row->webhook_deleted) {
    *result = absl::FailedPreconditionError(
        "the delivery's webhook is deleted: publish the notification again to reach another one");
    return absl::OkStatus();
  }
  if (delivery.state != DeliveryState::kPending) {
    ++effects->counts().reopened;
    row->budget_attempts = 0;
    row->budget_start = absl::InfiniteFuture();
    delivery.due = due;
  }
  delivery.state = DeliveryState::kPending;
  // What is due already keeps its place in the queue.
  delivery.due = std::min(delivery.due, due);
  delivery.end_time = absl::InfiniteFuture();
  delivery.end_reason = EndReason::kNone;
  retry_.Bind(id, ToMicros(delivery.due), row->budget_attempts,
              ToNullableMicros(row->budget_start));
  RETURN_IF_ERROR(retry_.Run());

  OwedDelivery owed{id,
                    delivery.webhook,
                    delivery.notification,
                    delivery.due,
                    delivery.attempts,
                    row->budget_attempts,
                    row->budget_start,
                    nullptr};
  const ResetOnExit reset(body_);
  body_.Bind(delivery.notification);
  ASSIGN_OR_RETURN(const bool found, body_.Next());
  if (!found) return absl::DataLossError("a delivery's notification is missing from its table");
  owed.body = std::make_shared<const std::string>(body_.Bytes(0));
  owed.retried = true;
  effects->owed().push_back(std::move(owed));
  *result = std::move(delivery);
  return absl::OkStatus();
}

}  // namespace postrider
