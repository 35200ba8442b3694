#include "src/outbox/sqlite/delivery_spans.h"

#include <algorithm>

#include "src/base/status_macros.h"

namespace postrider {
namespace {

constexpr int kSpansARun = 4;
constexpr size_t kOldSpansARun = 64;

constexpr unsigned kGroupBits = 7;
constexpr uint64_t kGroup = (uint64_t{1} << kGroupBits) - 1;
constexpr uint64_t kMoreFollow = uint64_t{1} << kGroupBits;

}  // namespace

std::string EncodeWebhooks(std::vector<int64_t> webhooks) {
  std::sort(webhooks.begin(), webhooks.end());
  webhooks.erase(std::unique(webhooks.begin(), webhooks.end()), webhooks.end());
  std::string encoded;
  int64_t before = 0;
  for (const int64_t webhook : webhooks) {
    auto rest = static_cast<uint64_t>(webhook - before);
    before = webhook;
    for (; rest > kGroup; rest >>= kGroupBits) {
      encoded.push_back(static_cast<char>((rest & kGroup) | kMoreFollow));
    }
    encoded.push_back(static_cast<char>(rest));
  }
  return encoded;
}

absl::StatusOr<bool> ContainsWebhook(std::string_view encoded, int64_t webhook) {
  uint64_t current = 0;
  uint64_t difference = 0;
  unsigned shift = 0;
  for (const char c : encoded) {
    const uint64_t group = static_cast<unsigned char>(c);
    if (shift >= 63) return absl::DataLossError("a span of deliveries names no webhooks");
    difference |= (group & kGroup) << shift;
    shift += kGroupBits;
    if ((group & kMoreFollow) != 0) continue;
    current += difference;
    if (current >= static_cast<uint64_t>(webhook)) return current == static_cast<uint64_t>(webhook);
    difference = 0;
    shift = 0;
  }
  if (shift != 0) return absl::DataLossError("a span of deliveries breaks off within a webhook");
  return false;
}

// ---- SpanWriter

absl::StatusOr<SpanWriter> SpanWriter::Create(Database& db) {
  SpanWriter w;
  ASSIGN_OR_RETURN(w.last_, db.Prepare("SELECT ifnull(max(last_id), 0) FROM delivery_span"));
  ASSIGN_OR_RETURN(w.waiting_rows_, db.Prepare("SELECT id, webhook_id FROM delivery WHERE id > ?"
                                               " ORDER BY id LIMIT ?"));
  ASSIGN_OR_RETURN(w.insert_,
                   db.Prepare("INSERT INTO delivery_span (last_id, webhooks) VALUES (?, ?)"));
  ASSIGN_OR_RETURN(w.old_spans_,
                   db.Prepare("SELECT last_id FROM delivery_span WHERE last_id > ? AND last_id < ?"
                              " ORDER BY last_id LIMIT ?"));
  ASSIGN_OR_RETURN(w.any_left_,
                   db.Prepare("SELECT 1 FROM delivery WHERE id > ? AND id <= ? LIMIT 1"));
  ASSIGN_OR_RETURN(w.forget_, db.Prepare("DELETE FROM delivery_span WHERE last_id = ?"));
  return w;
}

absl::Status SpanWriter::Run() {
  ASSIGN_OR_RETURN(const bool has_last, last_.Next());
  if (!has_last) return absl::UnknownError("the last span of deliveries gave no row");
  int64_t last = last_.Int(0);
  last_.Reset();
  std::vector<int64_t> webhooks;
  for (int i = 0; i < kSpansARun; ++i) {
    webhooks.clear();
    waiting_rows_.Bind(last, kDeliveries);
    while (true) {
      ASSIGN_OR_RETURN(const bool row, waiting_rows_.Next());
      if (!row) break;
      last = waiting_rows_.Int(0);
      webhooks.push_back(waiting_rows_.Int(1));
    }
    if (webhooks.size() < kDeliveries) {
      waiting_ = static_cast<int64_t>(webhooks.size());
      return absl::OkStatus();
    }
    const std::string encoded = EncodeWebhooks(webhooks);
    insert_.Bind(last, BlobView{encoded});
    RETURN_IF_ERROR(insert_.Run());
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> SpanWriter::ForgetOld(int64_t end) {
  std::vector<int64_t> spans;
  old_spans_.Bind(looked_at_, end, static_cast<int64_t>(kOldSpansARun));
  while (true) {
    ASSIGN_OR_RETURN(const bool row, old_spans_.Next());
    if (!row) break;
    spans.push_back(old_spans_.Int(0));
  }
  for (const int64_t span : spans) {
    const ResetOnExit reset(any_left_);
    any_left_.Bind(looked_at_, span);
    ASSIGN_OR_RETURN(const bool left, any_left_.Next());
    looked_at_ = span;
    if (left) continue;
    // No delivery is in it, so it does no harm that the next one begins earlier now.
    forget_.Bind(span);
    RETURN_IF_ERROR(forget_.Run());
  }
  if (spans.size() == kOldSpansARun) return true;
  looked_at_ = 0;
  return false;
}

// ---- SpanReader

absl::StatusOr<SpanReader> SpanReader::Create(Database& db) {
  SpanReader r;
  ASSIGN_OR_RETURN(r.containing_, db.Prepare("SELECT webhooks FROM delivery_span WHERE last_id >= ?"
                                             " ORDER BY last_id LIMIT 1"));
  ASSIGN_OR_RETURN(
      r.last_before_,
      db.Prepare("SELECT ifnull(max(last_id), 0) FROM delivery_span WHERE last_id < ?"));
  return r;
}

absl::StatusOr<SpanReader::Range> SpanReader::Before(int64_t end, WebhookId webhook) {
  const ResetOnExit reset_containing(containing_), reset_last_before(last_before_);
  Range range;
  containing_.Bind(end - 1);
  ASSIGN_OR_RETURN(const bool covered, containing_.Next());
  if (covered) {
    ASSIGN_OR_RETURN(range.may_hold,
                     ContainsWebhook(containing_.Bytes(0), static_cast<int64_t>(webhook)));
  }
  last_before_.Bind(end - 1);
  ASSIGN_OR_RETURN(const bool has_row, last_before_.Next());
  if (!has_row) return absl::UnknownError("the spans of deliveries gave no row");
  range.first = last_before_.Int(0) + 1;
  return range;
}

}  // namespace postrider
