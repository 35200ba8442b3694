#include "src/outbox/sqlite/attempt_rows.h"

#include <algorithm>
#include <utility>

#include "src/base/status_macros.h"
#include "src/outbox/sqlite/row_codec.h"

namespace postrider {
namespace {

// A row of each table, without error and body.
constexpr int64_t kRecordOverhead = 120;
// What does not fit beside others on a page gets pages of its own.
constexpr int64_t kInPage = 900;
constexpr int64_t kPage = 4096;
// Attempts that one transaction removes; what is still too much is for the next one.
constexpr int kRemovedATransaction = 4096;
constexpr int kForgottenASlice = 100;
// However short the room is, something of what failed last is known.
constexpr int64_t kAlways = int64_t{1} << 20;

int64_t BytesOf(const std::string& body) {
  const auto size = static_cast<int64_t>(body.size());
  return size <= kInPage ? size : (size + kPage - 1) / kPage * kPage;
}

}  // namespace

absl::StatusOr<AttemptTable> AttemptTable::Create(Database& db,
                                                  const SqliteOutboxOptions& options) {
  AttemptTable t;
  t.max_bytes_ = options.max_attempt_bytes;
  t.max_tenant_bytes_ = options.max_tenant_attempt_bytes;
  ASSIGN_OR_RETURN(t.rooms_rows_,
                   db.Prepare("SELECT tenant_id, record_bytes, body_bytes, last_bare,"
                              " max(last_bare, (SELECT ifnull(max(sequence), 0) FROM attempt_age a"
                              " WHERE a.tenant_id = r.tenant_id)) FROM attempt_room r"));
  ASSIGN_OR_RETURN(t.tenant_, db.Prepare("SELECT tenant_id FROM webhook WHERE id = ?"));
  ASSIGN_OR_RETURN(t.insert_,
                   db.Prepare("INSERT OR REPLACE INTO attempt (delivery_id, number, start_us,"
                              " latency_us, http_status, error, response_body)"
                              " VALUES (?, ?, ?, ?, ?, ?, ?)"));
  ASSIGN_OR_RETURN(t.prune_, db.Prepare("DELETE FROM attempt WHERE delivery_id = ?"
                                        " AND number <= ?"));
  ASSIGN_OR_RETURN(t.insert_age_, db.Prepare("INSERT INTO attempt_age VALUES (?, ?, ?, ?, ?, ?)"));
  ASSIGN_OR_RETURN(t.oldest_, db.Prepare("SELECT sequence, delivery_id, number, record_bytes,"
                                         " body_bytes FROM attempt_age WHERE tenant_id = ?"
                                         " ORDER BY sequence LIMIT 1"));
  ASSIGN_OR_RETURN(t.oldest_body_, db.Prepare("SELECT sequence, delivery_id, number, body_bytes"
                                              " FROM attempt_age WHERE tenant_id = ?"
                                              " AND sequence > ? ORDER BY sequence LIMIT 1"));
  ASSIGN_OR_RETURN(t.is_there_, db.Prepare("SELECT 1 FROM attempt WHERE delivery_id = ?"
                                           " AND number = ?"));
  ASSIGN_OR_RETURN(t.strip_, db.Prepare("UPDATE attempt SET response_body = x''"
                                        " WHERE delivery_id = ? AND number = ?"));
  ASSIGN_OR_RETURN(t.delete_,
                   db.Prepare("DELETE FROM attempt WHERE delivery_id = ? AND number = ?"));
  ASSIGN_OR_RETURN(t.delete_age_,
                   db.Prepare("DELETE FROM attempt_age WHERE tenant_id = ? AND sequence = ?"));
  ASSIGN_OR_RETURN(t.save_, db.Prepare("INSERT OR REPLACE INTO attempt_room VALUES (?, ?, ?, ?)"));
  RETURN_IF_ERROR(t.Load());
  return t;
}

absl::Status AttemptTable::Load() {
  rooms_.clear();
  changed_.clear();
  total_ = records_ = 0;
  const ResetOnExit reset(rooms_rows_);
  while (true) {
    ASSIGN_OR_RETURN(const bool row, rooms_rows_.Next());
    if (!row) break;
    Room& room = rooms_[rooms_rows_.Int(0)];
    room.record_bytes = rooms_rows_.Int(1);
    room.body_bytes = rooms_rows_.Int(2);
    room.last_bare = rooms_rows_.Int(3);
    room.last = rooms_rows_.Int(4);
    total_ += room.bytes();
    records_ += room.record_bytes;
  }
  before_ = total_;
  return absl::OkStatus();
}

absl::StatusOr<int64_t> AttemptTable::TenantOf(WebhookId webhook) {
  const ResetOnExit reset(tenant_);
  tenant_.Bind(webhook);
  ASSIGN_OR_RETURN(const bool found, tenant_.Next());
  // The webhook is forgotten: nobody's.
  return found ? tenant_.Int(0) : 0;
}

absl::Status AttemptTable::Insert(WebhookId webhook, DeliveryId delivery, const Attempt& attempt) {
  insert_.Bind(delivery, attempt.number, ToMicros(attempt.start), ToMicros(attempt.latency),
               attempt.http_status, attempt.error, BlobView{attempt.response_body});
  RETURN_IF_ERROR(insert_.Run());
  if (attempt.number > kMaxKept) {
    prune_.Bind(delivery, attempt.number - kMaxKept);
    RETURN_IF_ERROR(prune_.Run());
  }
  ASSIGN_OR_RETURN(const int64_t tenant, TenantOf(webhook));
  const int64_t record_bytes = kRecordOverhead + static_cast<int64_t>(attempt.error.size());
  const int64_t body_bytes = BytesOf(attempt.response_body);
  Room& room = rooms_[tenant];
  insert_age_.Bind(tenant, ++room.last, delivery, attempt.number, record_bytes, body_bytes);
  RETURN_IF_ERROR(insert_age_.Run());
  Take(tenant, room, -record_bytes, -body_bytes);
  return absl::OkStatus();
}

void AttemptTable::Take(int64_t tenant, Room& room, int64_t record_bytes, int64_t body_bytes) {
  if (!std::exchange(room.changed, true)) changed_.push_back(tenant);
  room.record_bytes -= record_bytes;
  room.body_bytes -= body_bytes;
  records_ -= record_bytes;
  total_ -= record_bytes + body_bytes;
}

absl::Status AttemptTable::Finish(bool may_grow) {
  const int64_t max = may_grow ? max_bytes_ : std::min(max_bytes_, std::max(before_, kAlways));
  int left = kRemovedATransaction;
  for (const int64_t tenant : changed_) {
    Room& room = rooms_[tenant];
    for (; room.bytes() > max_tenant_bytes_ && left > 0; --left) {
      RETURN_IF_ERROR(MakeRoom(tenant, room, room.record_bytes <= max_tenant_bytes_ / 2));
    }
  }
  while (total_ > max && left > 0) {
    const auto most = std::max_element(
        rooms_.begin(), rooms_.end(),
        [](const auto& a, const auto& b) { return a.second.bytes() < b.second.bytes(); });
    if (most == rooms_.end()) break;
    // A few from one, since to find him takes a look at all.
    for (int i = 0; i < 64 && total_ > max && most->second.bytes() > 0 && left > 0; ++i, --left) {
      RETURN_IF_ERROR(MakeRoom(most->first, most->second, records_ <= max / 2));
    }
  }
  for (const int64_t tenant : changed_) {
    Room& room = rooms_[tenant];
    room.changed = false;
    save_.Bind(tenant, room.record_bytes, room.body_bytes, room.last_bare);
    RETURN_IF_ERROR(save_.Run());
  }
  changed_.clear();
  return absl::OkStatus();
}

absl::Status AttemptTable::MakeRoom(int64_t tenant, Room& room, bool spare_records) {
  return spare_records && room.body_bytes > 0 ? RemoveOldestBody(tenant, room)
                                              : RemoveOldest(tenant, room);
}

absl::Status AttemptTable::RemoveOldestBody(int64_t tenant, Room& room) {
  const ResetOnExit reset(oldest_body_);
  oldest_body_.Bind(tenant, room.last_bare);
  ASSIGN_OR_RETURN(const bool found, oldest_body_.Next());
  if (!found) {
    Take(tenant, room, 0, room.body_bytes);
    return absl::OkStatus();
  }
  room.last_bare = oldest_body_.Int(0);
  const int64_t bytes = oldest_body_.Int(3);
  Take(tenant, room, 0, bytes);
  if (bytes == 0) return absl::OkStatus();
  ++removed_.bodies;
  strip_.Bind(oldest_body_.Int(1), oldest_body_.Int(2));
  return strip_.Run();
}

absl::Status AttemptTable::RemoveOldest(int64_t tenant, Room& room) {
  const ResetOnExit reset(oldest_);
  oldest_.Bind(tenant);
  ASSIGN_OR_RETURN(const bool found, oldest_.Next());
  if (!found) {
    Take(tenant, room, room.record_bytes, room.body_bytes);
    return absl::OkStatus();
  }
  const int64_t sequence = oldest_.Int(0);
  Take(tenant, room, oldest_.Int(3), sequence > room.last_bare ? oldest_.Int(4) : 0);
  room.last_bare = std::max(room.last_bare, sequence);
  ++removed_.attempts;
  delete_.Bind(oldest_.Int(1), oldest_.Int(2));
  RETURN_IF_ERROR(delete_.Run());
  oldest_.Reset();
  delete_age_.Bind(tenant, sequence);
  return delete_age_.Run();
}

absl::StatusOr<bool> AttemptTable::ForgetGone() {
  int left = kForgottenASlice;
  for (auto it = rooms_.lower_bound(next_to_forget_); it != rooms_.end(); ++it) {
    const int64_t tenant = it->first;
    Room& room = it->second;
    next_to_forget_ = tenant;
    while (room.bytes() > 0) {
      if (left-- <= 0) return true;
      const ResetOnExit reset(oldest_), reset_there(is_there_);
      oldest_.Bind(tenant);
      ASSIGN_OR_RETURN(const bool found, oldest_.Next());
      if (!found) break;
      is_there_.Bind(oldest_.Int(1), oldest_.Int(2));
      ASSIGN_OR_RETURN(const bool there, is_there_.Next());
      if (there) break;
      const int64_t sequence = oldest_.Int(0);
      Take(tenant, room, oldest_.Int(3), sequence > room.last_bare ? oldest_.Int(4) : 0);
      room.last_bare = std::max(room.last_bare, sequence);
      oldest_.Reset();
      delete_age_.Bind(tenant, sequence);
      RETURN_IF_ERROR(delete_age_.Run());
    }
  }
  next_to_forget_ = 0;
  return false;
}

AttemptTable::Removed AttemptTable::TakeRemoved() { return std::exchange(removed_, Removed()); }

}  // namespace postrider
