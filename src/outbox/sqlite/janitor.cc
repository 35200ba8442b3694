#include "src/outbox/sqlite/janitor.h"

#include <limits>
#include <utility>
#include <vector>

#include "src/base/status_macros.h"
#include "src/outbox/sqlite/row_codec.h"

namespace postrider {
namespace {

constexpr absl::Duration kSweepInterval = absl::Minutes(1);
constexpr absl::Duration kFuture = absl::Hours(24);
// Notifications that one slice looks at.
constexpr int kSliceNotifications = 100;
constexpr int kSlicePages = 256;
// Fewer free pages than this are kept: they will be filled again soon.
constexpr int64_t kMinFreePages = 1024;
// Giving back begins when a quarter of the file is free, and ends at an eighth.
constexpr int64_t kShrinkAbove = 4;
constexpr int64_t kShrinkUntil = 8;

}  // namespace

absl::StatusOr<Janitor> Janitor::Create(Database& db, absl::Duration retention,
                                        AttemptTable* attempts) {
  Janitor j;
  j.db_ = &db;
  j.attempts_ = attempts;
  j.retention_ = retention;
  ASSIGN_OR_RETURN(
      j.cancel_,
      db.Prepare("UPDATE delivery SET state = 3, end_us = ?2, end_reason = 6"
                 " WHERE id IN (SELECT id FROM delivery"
                 " INDEXED BY delivery_owed WHERE webhook_id = ?1 AND state = 0 LIMIT ?3)"));
  ASSIGN_OR_RETURN(j.expired_,
                   db.Prepare("SELECT id, first_delivery_id, delivery_count FROM notification"
                              " WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT ?3"));
  ASSIGN_OR_RETURN(j.owed_, db.Prepare("SELECT 1 FROM delivery WHERE id >= ?1 AND id < ?2"
                                       " AND +state = 0 LIMIT 1"));
  ASSIGN_OR_RETURN(
      j.delete_attempts_,
      db.Prepare("DELETE FROM attempt WHERE (delivery_id, number) IN (SELECT delivery_id, number"
                 " FROM attempt WHERE delivery_id >= ?1 AND delivery_id < ?2 LIMIT ?3)"));
  ASSIGN_OR_RETURN(j.delete_deliveries_,
                   db.Prepare("DELETE FROM delivery WHERE id IN (SELECT id FROM delivery"
                              " WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3)"));
  ASSIGN_OR_RETURN(j.delete_notification_, db.Prepare("DELETE FROM notification WHERE id = ?"));
  ASSIGN_OR_RETURN(j.delete_webhooks_,
                   db.Prepare("DELETE FROM webhook WHERE id IN (SELECT id FROM webhook"
                              " WHERE deleted_us IS NOT NULL AND last_delivery_id < ?1"
                              " AND (deleted_us < ?2 OR deleted_us > ?3) LIMIT ?4)"));
  ASSIGN_OR_RETURN(j.oldest_delivery_, db.Prepare("SELECT min(id) FROM delivery"));
  ASSIGN_OR_RETURN(j.save_ids_, db.Prepare("UPDATE meta SET last_notification_id = ?,"
                                           " last_delivery_id = ?"));
  ASSIGN_OR_RETURN(j.spans_, SpanWriter::Create(db));
  ASSIGN_OR_RETURN(j.owed_sweep_, OwedSweep::Create(db));
  ASSIGN_OR_RETURN(j.pages_, db.Prepare("PRAGMA page_count"));
  ASSIGN_OR_RETURN(j.free_pages_, db.Prepare("PRAGMA freelist_count"));
  ASSIGN_OR_RETURN(j.vacuum_,
                   db.Prepare("PRAGMA incremental_vacuum(" + std::to_string(kSlicePages) + ")"));
  // What was being cancelled when the process before ended.
  ASSIGN_OR_RETURN(Statement orphaned,
                   db.Prepare("SELECT id FROM webhook w WHERE w.deleted_us IS NOT NULL AND EXISTS"
                              " (SELECT 1 FROM delivery d INDEXED BY delivery_owed"
                              " WHERE d.webhook_id = w.id AND d.state = 0)"));
  while (true) {
    ASSIGN_OR_RETURN(const bool row, orphaned.Next());
    if (!row) break;
    j.state_.cancelling.push_back(WebhookId{orphaned.Int(0)});
  }
  j.saved_ = j.state_;
  return j;
}

bool Janitor::Due(absl::Duration monotonic) const {
  return !state_.cancelling.empty() || state_.forgetting_spans || state_.forgetting_attempts ||
         state_.shrinking ||
         spans_.Due() || owed_sweep_.Due(monotonic) || monotonic >= state_.next_sweep;
}

void Janitor::Commit() {
  if (!dirty_) return;
  saved_ = state_;
  owed_sweep_.Commit();
  dirty_ = false;
}

void Janitor::Rollback() {
  spans_.Rollback();
  if (!dirty_) return;
  state_ = saved_;
  owed_sweep_.Rollback();
  dirty_ = false;
}

absl::StatusOr<Janitor::Slice> Janitor::Run(absl::Time now, absl::Duration monotonic,
                                            const Publisher& publisher, Effects* effects) {
  Slice slice;
  const int64_t old = publisher.epochs().OlderThan(now - retention_);
  dirty_ = true;
  if (spans_.Due()) RETURN_IF_ERROR(spans_.Run());
  if (!state_.cancelling.empty()) {
    slice.webhook = state_.cancelling.front();
    ASSIGN_OR_RETURN(slice.cancelled, Cancel(now));
  } else if (owed_sweep_.Due(monotonic)) {
    ASSIGN_OR_RETURN(slice.aged, owed_sweep_.Run(now, monotonic, effects));
  } else if (monotonic >= state_.next_sweep) {
    ASSIGN_OR_RETURN(slice.deleted, Sweep(now, monotonic, old));
    if (slice.deleted > 0) {
      save_ids_.Bind(publisher.last_notification_id(), publisher.last_delivery_id());
      RETURN_IF_ERROR(save_ids_.Run());
    }
  } else if (state_.forgetting_spans) {
    ASSIGN_OR_RETURN(state_.forgetting_spans, spans_.ForgetOld(old));
  } else if (state_.forgetting_attempts) {
    ASSIGN_OR_RETURN(state_.forgetting_attempts, attempts_->ForgetGone());
  } else if (state_.shrinking) {
    RETURN_IF_ERROR(Shrink());
  }
  return slice;
}

absl::StatusOr<int64_t> Janitor::Cancel(absl::Time now) {
  cancel_.Bind(state_.cancelling.front(), ToMicros(now), kSliceRows);
  RETURN_IF_ERROR(cancel_.Run());
  const int64_t cancelled = db_->Changes();
  if (cancelled < kSliceRows) state_.cancelling.pop_front();
  return cancelled;
}

absl::StatusOr<int64_t> Janitor::Sweep(absl::Time now, absl::Duration monotonic, int64_t end) {
  struct Expired {
    int64_t id;
    int64_t first;
    int64_t end;
  };
  std::vector<Expired> expired;
  expired_.Bind(state_.cursor, end, kSliceNotifications);
  while (true) {
    ASSIGN_OR_RETURN(const bool row, expired_.Next());
    if (!row) break;
    expired.push_back({expired_.Int(0), expired_.Int(1), expired_.Int(1) + expired_.Int(2)});
  }
  int64_t budget = kSliceRows;
  for (const Expired& n : expired) {
    ASSIGN_OR_RETURN(const bool passed, DeleteNotification(n.id, n.first, n.end, &budget));
    if (!passed) return kSliceRows - budget;
    state_.cursor = n.id;
  }
  if (expired.size() < kSliceNotifications) {
    RETURN_IF_ERROR(EndSweep(now, monotonic));
  }
  return kSliceRows - budget;
}

absl::StatusOr<bool> Janitor::DeleteNotification(int64_t id, int64_t first, int64_t end,
                                                 int64_t* budget) {
  if (first < end) {
    const ResetOnExit reset(owed_);
    owed_.Bind(first, end);
    ASSIGN_OR_RETURN(const bool owed, owed_.Next());
    if (owed) return true;
    for (Statement* statement : {&delete_attempts_, &delete_deliveries_}) {
      statement->Bind(first, end, *budget);
      RETURN_IF_ERROR(statement->Run());
      *budget -= db_->Changes();
      // Perhaps not all of them.
      if (*budget <= 0) return false;
    }
  }
  delete_notification_.Bind(id);
  RETURN_IF_ERROR(delete_notification_.Run());
  return --*budget > 0;
}

absl::Status Janitor::EndSweep(absl::Time now, absl::Duration monotonic) {
  state_.cursor = 0;
  state_.next_sweep = monotonic + kSweepInterval;
  state_.forgetting_spans = true;
  state_.forgetting_attempts = true;
  int64_t oldest = std::numeric_limits<int64_t>::max();
  const ResetOnExit reset(oldest_delivery_);
  ASSIGN_OR_RETURN(const bool has_row, oldest_delivery_.Next());
  if (!has_row) return absl::UnknownError("the oldest delivery gave no row");
  if (!oldest_delivery_.IsNull(0)) oldest = oldest_delivery_.Int(0);
  // What was deleted in the future was deleted under a wrong clock.
  delete_webhooks_.Bind(oldest, ToMicros(now - retention_), ToMicros(now + kFuture), kSliceRows);
  RETURN_IF_ERROR(delete_webhooks_.Run());
  ASSIGN_OR_RETURN(state_.shrinking, ManyPagesFree(kShrinkAbove));
  return absl::OkStatus();
}

absl::Status Janitor::Shrink() {
  // It gives a row for each page.
  while (true) {
    ASSIGN_OR_RETURN(const bool row, vacuum_.Next());
    if (!row) break;
  }
  ASSIGN_OR_RETURN(state_.shrinking, ManyPagesFree(kShrinkUntil));
  return absl::OkStatus();
}

absl::StatusOr<bool> Janitor::ManyPagesFree(int64_t fraction) {
  const ResetOnExit reset_pages(pages_), reset_free(free_pages_);
  ASSIGN_OR_RETURN(const bool has_pages, pages_.Next());
  ASSIGN_OR_RETURN(const bool has_free, free_pages_.Next());
  if (!has_pages || !has_free) return absl::UnknownError("the page counts gave no row");
  const int64_t free = free_pages_.Int(0);
  return free > kMinFreePages && free > pages_.Int(0) / fraction;
}

}  // namespace postrider
