#include "src/outbox/sqlite/read_session.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "src/base/status_macros.h"
#include "src/outbox/sqlite/row_codec.h"

namespace postrider {
namespace {

// Webhooks that one read transaction loads at the start.
constexpr int kLoadWebhooks = 1000;

// To see whether a span holds a webhook takes as long as to look at so many rows.
constexpr int kRowsPerSpan = 25;

// Two ranges of the index in turn: the rest of the due time where the page before ended, and what
// is due later. (One condition on the pair would begin at the due time's first row again, and many
// deliveries can be due at the same time.)
constexpr char kOwedColumns[] =
    "SELECT d.id, d.notification_id, d.due_us, d.attempts, d.budget_attempts, d.budget_start_us,"
    " n.body FROM delivery d INDEXED BY delivery_owed"
    " CROSS JOIN notification n ON n.id = d.notification_id WHERE d.state = 0";
constexpr char kOwedAtSameTime[] =
    " AND d.webhook_id = ? AND d.due_us = ? AND d.id > ? ORDER BY d.id LIMIT ?";
constexpr char kOwedLater[] =
    " AND d.webhook_id = ? AND d.due_us > ? ORDER BY d.due_us, d.id LIMIT ?";

constexpr char kNotificationColumns[] =
    "SELECT id, type, create_us, delivery_count, idempotency_key, body, tenant_id"
    " FROM notification";

Notification ReadNotification(const Statement& row, const std::string& tenant) {
  Notification n;
  n.id = NotificationId{row.Int(0)};
  n.tenant = tenant;
  n.type = row.Bytes(1);
  n.create_time = TimeFromMicros(row.Int(2));
  n.delivery_count = static_cast<int>(row.Int(3));
  n.idempotency_key = row.Bytes(4);
  n.body = row.Bytes(5);
  return n;
}

// Leaves of the ranges what lies in `within`.
void Narrow(IdEpochs::Range within, std::vector<IdEpochs::Range>* ranges) {
  for (IdEpochs::Range& range : *ranges) {
    range.first = std::max(range.first, within.first);
    range.end = std::min(range.end, within.end);
  }
  std::erase_if(*ranges, [](const IdEpochs::Range& range) { return range.first >= range.end; });
}

bool Within(absl::Time time, absl::Time start, absl::Time end) {
  return time >= start && time < end;
}

}  // namespace

// All reads inside it see the same state.
class ReadSession::Transaction {
 public:
  static absl::StatusOr<Transaction> Begin(ReadSession& session) {
    RETURN_IF_ERROR(session.begin_.Run());
    return Transaction(session);
  }
  Transaction(Transaction&& other) noexcept : session_(std::exchange(other.session_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  // Nothing was written, so nothing can be lost when it fails.
  ~Transaction() {
    if (session_ != nullptr) session_->commit_.Run().IgnoreError();
  }

 private:
  explicit Transaction(ReadSession& session) : session_(&session) {}
  ReadSession* session_;
};

absl::StatusOr<std::unique_ptr<ReadSession>> ReadSession::Open(const std::string& path,
                                                               const std::string& vfs) {
  ASSIGN_OR_RETURN(Database db, Database::Open(path, Database::Mode::kReadOnly, vfs));
  std::unique_ptr<ReadSession> session(new ReadSession(std::move(db)));
  RETURN_IF_ERROR(session->Prepare());
  return session;
}

absl::Status ReadSession::Prepare() {
  RETURN_IF_ERROR(
      db_.Exec("PRAGMA query_only = ON; PRAGMA cache_size = -6144;"
               "PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0;"
               "PRAGMA wal_autocheckpoint = 0"));
  ASSIGN_OR_RETURN(webhooks_, WebhookReader::Create(db_));
  ASSIGN_OR_RETURN(deliveries_, DeliveryReader::Create(db_));
  ASSIGN_OR_RETURN(spans_, SpanReader::Create(db_));
  ASSIGN_OR_RETURN(begin_, db_.Prepare("BEGIN"));
  ASSIGN_OR_RETURN(commit_, db_.Prepare("COMMIT"));
  ASSIGN_OR_RETURN(tenant_, db_.Prepare("SELECT id FROM tenant WHERE name = ?"));
  ASSIGN_OR_RETURN(webhook_there_,
                   db_.Prepare("SELECT 1 FROM webhook WHERE id = ? AND deleted_us IS NULL"));
  ASSIGN_OR_RETURN(webhook_tenant_, db_.Prepare("SELECT tenant_id FROM webhook WHERE id = ?"));
  ASSIGN_OR_RETURN(is_owed_, db_.Prepare("SELECT 1 FROM delivery INDEXED BY delivery_owed"
                                         " WHERE webhook_id = ? AND state = 0 LIMIT 1"));
  ASSIGN_OR_RETURN(epochs_, IdEpochs::PrepareLoad(db_));
  ASSIGN_OR_RETURN(owed_at_same_time_, db_.Prepare(absl::StrCat(kOwedColumns, kOwedAtSameTime)));
  ASSIGN_OR_RETURN(owed_later_, db_.Prepare(absl::StrCat(kOwedColumns, kOwedLater)));
  ASSIGN_OR_RETURN(notification_, db_.Prepare(absl::StrCat(kNotificationColumns, " WHERE id = ?")));
  ASSIGN_OR_RETURN(list_notifications_,
                   db_.Prepare(absl::StrCat(kNotificationColumns,
                                            " WHERE id >= ? AND id < ? ORDER BY id DESC")));
  ASSIGN_OR_RETURN(notification_deliveries_,
                   db_.Prepare("SELECT first_delivery_id, delivery_count FROM notification"
                               " WHERE id = ? AND tenant_id = ?"));
  ASSIGN_OR_RETURN(list_deliveries_, db_.Prepare("SELECT id, webhook_id, state FROM delivery"
                                                 " WHERE id >= ? AND id < ? ORDER BY id DESC"));
  return absl::OkStatus();
}

// ---- For the engine

absl::StatusOr<OwedPage> ReadSession::ReadOwed(WebhookId webhook, OwedKey after, int limit,
                                               size_t max_bytes) {
  ASSIGN_OR_RETURN(const Transaction transaction, Transaction::Begin(*this));
  const ResetOnExit reset(webhook_there_);
  OwedPage page;
  webhook_there_.Bind(webhook);
  ASSIGN_OR_RETURN(const bool there, webhook_there_.Next());
  if (!there) return page;
  // One more than is wanted tells whether there are more.
  const int64_t rows = int64_t{limit} + 1;
  size_t bytes = 0;
  owed_at_same_time_.Bind(webhook, ToMicros(after.due), after.id, rows);
  owed_later_.Bind(webhook, ToMicros(after.due), rows);
  for (Statement* statement : {&owed_at_same_time_, &owed_later_}) {
    RETURN_IF_ERROR(AddOwed(*statement, webhook, limit, max_bytes, &bytes, &page));
    if (!page.complete) break;
  }
  return page;
}

absl::Status ReadSession::AddOwed(Statement& row, WebhookId webhook, int limit, size_t max_bytes,
                                  size_t* bytes, OwedPage* page) {
  const ResetOnExit reset(row);
  while (true) {
    ASSIGN_OR_RETURN(const bool found, row.Next());
    if (!found) return absl::OkStatus();
    const std::string_view body = row.Bytes(6);
    *bytes += body.size();
    if (!page->rows.empty() &&
        (page->rows.size() >= static_cast<size_t>(limit) || *bytes > max_bytes)) {
      page->complete = false;
      return absl::OkStatus();
    }
    page->rows.push_back({DeliveryId{row.Int(0)}, webhook, NotificationId{row.Int(1)},
                          TimeFromMicros(row.Int(2)), static_cast<int>(row.Int(3)),
                          static_cast<int>(row.Int(4)), NullableTime(row, 5),
                          std::make_shared<const std::string>(body)});
  }
}

absl::StatusOr<std::string> ReadSession::ExplainReadOwed() {
  std::string text;
  for (const char* rest : {kOwedAtSameTime, kOwedLater}) {
    ASSIGN_OR_RETURN(Statement plan,
                     db_.Prepare(absl::StrCat("EXPLAIN QUERY PLAN ", kOwedColumns, rest)));
    while (true) {
      ASSIGN_OR_RETURN(const bool row, plan.Next());
      if (!row) break;
      text.append(plan.Bytes(3)).append("\n");
    }
  }
  return text;
}

absl::StatusOr<std::vector<StartingWebhook>> ReadSession::LoadWebhooks() {
  std::vector<StartingWebhook> all;
  WebhookId after{};
  while (true) {
    ASSIGN_OR_RETURN(const Transaction transaction, Transaction::Begin(*this));
    ASSIGN_OR_RETURN(std::vector<Webhook> some, webhooks_.ListById(after, kLoadWebhooks));
    if (some.empty()) return all;
    after = some.back().id;
    for (Webhook& webhook : some) {
      const ResetOnExit reset(is_owed_);
      is_owed_.Bind(webhook.id);
      ASSIGN_OR_RETURN(const bool owed, is_owed_.Next());
      all.push_back({std::move(webhook), owed});
    }
  }
}

// ---- Webhooks

absl::StatusOr<int64_t> ReadSession::TenantId(const std::string& tenant) {
  const ResetOnExit reset(tenant_);
  tenant_.Bind(tenant);
  ASSIGN_OR_RETURN(const bool found, tenant_.Next());
  if (found) return tenant_.Int(0);
  return absl::NotFoundError(
      absl::StrCat("tenant '", tenant, "' is unknown: configure a webhook for it first"));
}

absl::StatusOr<Webhook> ReadSession::GetWebhook(const std::string& tenant,
                                                const std::string& name) {
  ASSIGN_OR_RETURN(const Transaction transaction, Transaction::Begin(*this));
  ASSIGN_OR_RETURN(std::optional<Webhook> webhook, webhooks_.Find(tenant, name));
  if (webhook) return *std::move(webhook);
  return absl::NotFoundError(absl::StrCat("tenant '", tenant, "' has no webhook '", name, "'"));
}

absl::StatusOr<WebhookPage> ReadSession::ListWebhooks(const std::string& tenant,
                                                      const std::string& after, int limit) {
  ASSIGN_OR_RETURN(const Transaction transaction, Transaction::Begin(*this));
  RETURN_IF_ERROR(TenantId(tenant).status());
  WebhookPage page;
  bool more = false;
  ASSIGN_OR_RETURN(page.rows, webhooks_.List(tenant, after, limit, kMaxPageBytes, &more));
  if (more) page.next_after = page.rows.back().name;
  return page;
}

// ---- Notifications

absl::StatusOr<std::vector<ReadSession::IdRange>> ReadSession::RangesOf(
    absl::Time start, absl::Time end, std::optional<int64_t> before) {
  ASSIGN_OR_RETURN(const IdEpochs epochs, IdEpochs::Load(epochs_));
  std::vector<IdRange> ranges = epochs.Between(start, end);
  if (before) Narrow({0, *before}, &ranges);
  return ranges;
}

absl::StatusOr<Notification> ReadSession::GetNotification(const std::string& tenant,
                                                          NotificationId id) {
  ASSIGN_OR_RETURN(const Transaction transaction, Transaction::Begin(*this));
  const absl::StatusOr<int64_t> tenant_id = TenantId(tenant);
  if (!tenant_id.ok() && tenant_id.status().code() != absl::StatusCode::kNotFound) {
    return tenant_id.status();
  }
  const ResetOnExit reset(notification_);
  notification_.Bind(id);
  ASSIGN_OR_RETURN(const bool found, notification_.Next());
  if (!found || !tenant_id.ok() || notification_.Int(6) != *tenant_id) {
    return absl::NotFoundError("the tenant has no notification of this id");
  }
  return ReadNotification(notification_, tenant);
}

absl::StatusOr<NotificationPage> ReadSession::ListNotifications(const NotificationFilter& filter) {
  ASSIGN_OR_RETURN(const Transaction transaction, Transaction::Begin(*this));
  ASSIGN_OR_RETURN(const int64_t tenant_id, TenantId(filter.tenant));
  std::optional<int64_t> before;
  if (filter.before) before = static_cast<int64_t>(*filter.before);
  ASSIGN_OR_RETURN(const std::vector<IdRange> ranges, RangesOf(filter.start, filter.end, before));
  NotificationWalk walk{filter, tenant_id};
  NotificationPage page;
  for (const IdRange& range : ranges) {
    ASSIGN_OR_RETURN(const bool full, AddNotifications(range, &walk, &page));
    if (full) return page;
  }
  page.next_before.reset();
  return page;
}

absl::StatusOr<bool> ReadSession::AddNotifications(const IdRange& range, NotificationWalk* walk,
                                                   NotificationPage* page) {
  const NotificationFilter& filter = walk->filter;
  Statement& row = list_notifications_;
  const ResetOnExit reset(row);
  row.Bind(range.first, range.end);
  for (; walk->looked_at < kMaxRowsLookedAt; ++walk->looked_at) {
    ASSIGN_OR_RETURN(const bool found, row.Next());
    if (!found) return false;
    if (row.Int(6) == walk->tenant_id && (filter.type.empty() || row.Bytes(1) == filter.type) &&
        Within(TimeFromMicros(row.Int(2)), filter.start, filter.end)) {
      walk->bytes += row.Bytes(5).size();
      if (!page->rows.empty() && (page->rows.size() >= static_cast<size_t>(filter.limit) ||
                                  walk->bytes > kMaxPageBytes)) {
        return true;
      }
      page->rows.push_back(ReadNotification(row, filter.tenant));
    }
    page->next_before = NotificationId{row.Int(0)};
  }
  return true;
}

// ---- Deliveries

absl::StatusOr<DeliveryWithAttempts> ReadSession::GetDelivery(const std::string& tenant,
                                                              DeliveryId id) {
  ASSIGN_OR_RETURN(const Transaction transaction, Transaction::Begin(*this));
  ASSIGN_OR_RETURN(std::optional<DeliveryRow> row, deliveries_.Find(id));
  if (!row || row->delivery.tenant != tenant) {
    return absl::NotFoundError("the tenant has no delivery of this id");
  }
  ASSIGN_OR_RETURN(std::vector<Attempt> attempts, deliveries_.Attempts(*row));
  return DeliveryWithAttempts{std::move(row->delivery), std::move(attempts)};
}

absl::Status ReadSession::NarrowToNotification(NotificationId id, int64_t tenant_id,
                                               std::vector<IdRange>* ranges) {
  const ResetOnExit reset(notification_deliveries_);
  notification_deliveries_.Bind(id, tenant_id);
  ASSIGN_OR_RETURN(const bool found, notification_deliveries_.Next());
  if (!found) return absl::NotFoundError("the tenant has no notification of this id");
  const int64_t first = notification_deliveries_.Int(0);
  Narrow({first, first + notification_deliveries_.Int(1)}, ranges);
  return absl::OkStatus();
}

absl::StatusOr<bool> ReadSession::WebhookIsOf(WebhookId id, int64_t tenant_id,
                                              std::unordered_map<WebhookId, bool>* known) {
  const auto it = known->find(id);
  if (it != known->end()) return it->second;
  const ResetOnExit reset(webhook_tenant_);
  webhook_tenant_.Bind(id);
  ASSIGN_OR_RETURN(const bool found, webhook_tenant_.Next());
  const bool is = found && webhook_tenant_.Int(0) == tenant_id;
  known->emplace(id, is);
  return is;
}

absl::StatusOr<DeliveryPage> ReadSession::ListDeliveries(const DeliveryFilter& filter) {
  ASSIGN_OR_RETURN(const Transaction transaction, Transaction::Begin(*this));
  ASSIGN_OR_RETURN(const int64_t tenant_id, TenantId(filter.tenant));
  std::optional<int64_t> before;
  if (filter.before) before = static_cast<int64_t>(*filter.before);
  ASSIGN_OR_RETURN(std::vector<IdRange> ranges, RangesOf(filter.start, filter.end, before));
  if (filter.notification) {
    RETURN_IF_ERROR(NarrowToNotification(*filter.notification, tenant_id, &ranges));
  }
  DeliveryWalk walk{filter, tenant_id, {}, {}};
  if (!filter.webhook_name.empty()) {
    ASSIGN_OR_RETURN(walk.webhooks, webhooks_.IdsOf(tenant_id, filter.webhook_name));
    if (walk.webhooks.empty()) {
      return absl::NotFoundError(
          absl::StrCat("tenant '", filter.tenant, "' has no webhook '", filter.webhook_name, "'"));
    }
  }
  DeliveryPage page;
  for (const IdRange& range : ranges) {
    ASSIGN_OR_RETURN(const bool full, walk.webhooks.empty() ? AddDeliveries(range, &walk, &page)
                                                            : AddBySpans(range, &walk, &page));
    if (full) return page;
  }
  page.next_before.reset();
  return page;
}

absl::StatusOr<bool> ReadSession::AddBySpans(IdRange range, DeliveryWalk* walk,
                                             DeliveryPage* page) {
  // Numbers are positive.
  range.first = std::max(range.first, int64_t{1});
  while (range.first < range.end) {
    // As far as all of them agree.
    SpanReader::Range span{range.first, false};
    for (const WebhookId webhook : walk->webhooks) {
      ASSIGN_OR_RETURN(const SpanReader::Range one, spans_.Before(range.end, webhook));
      span.first = std::max(span.first, one.first);
      span.may_hold |= one.may_hold;
    }
    if (span.may_hold) {
      ASSIGN_OR_RETURN(const bool full, AddDeliveries({span.first, range.end}, walk, page));
      if (full) return true;
    }
    range.end = span.first;
    page->next_before = DeliveryId{range.end};
    walk->looked_at += kRowsPerSpan;
    if (walk->looked_at >= kMaxRowsLookedAt) return true;
  }
  return false;
}

absl::StatusOr<bool> ReadSession::AddDeliveries(const IdRange& range, DeliveryWalk* walk,
                                                DeliveryPage* page) {
  const DeliveryFilter& filter = walk->filter;
  const ResetOnExit reset(list_deliveries_);
  list_deliveries_.Bind(range.first, range.end);
  for (; walk->looked_at < kMaxRowsLookedAt; ++walk->looked_at) {
    ASSIGN_OR_RETURN(const bool found, list_deliveries_.Next());
    if (!found) return false;
    const DeliveryId id{list_deliveries_.Int(0)};
    const WebhookId webhook{list_deliveries_.Int(1)};
    bool matches =
        !filter.state || static_cast<DeliveryState>(list_deliveries_.Int(2)) == *filter.state;
    if (!walk->webhooks.empty()) {
      matches = matches && std::find(walk->webhooks.begin(), walk->webhooks.end(), webhook) !=
                               walk->webhooks.end();
    } else if (matches) {
      ASSIGN_OR_RETURN(matches, WebhookIsOf(webhook, walk->tenant_id, &walk->of_tenant));
    }
    if (matches) {
      ASSIGN_OR_RETURN(std::optional<DeliveryRow> delivery, deliveries_.Find(id));
      if (!delivery) return absl::DataLossError("a delivery's notification or webhook is missing");
      if (Within(delivery->delivery.create_time, filter.start, filter.end)) {
        if (page->rows.size() >= static_cast<size_t>(filter.limit)) return true;
        page->rows.push_back(std::move(delivery->delivery));
      }
    }
    page->next_before = id;
  }
  return true;
}

}  // namespace postrider
