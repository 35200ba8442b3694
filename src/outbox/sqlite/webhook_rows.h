#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/outbox/sqlite/database.h"
#include "src/outbox/types.h"

namespace postrider {

// Reads webhooks that are not deleted, on any connection. Not thread-safe.
class WebhookReader {
 public:
  static absl::StatusOr<WebhookReader> Create(Database& db);

  // Nothing when there is none.
  absl::StatusOr<std::optional<Webhook>> Find(const std::string& tenant, const std::string& name);
  absl::StatusOr<std::optional<Webhook>> Find(WebhookId id);
  // By name, after `after`, at most `limit` and about `max_bytes`, but one at least. `more`: there
  // are others behind them.
  absl::StatusOr<std::vector<Webhook>> List(const std::string& tenant, const std::string& after,
                                            int limit, size_t max_bytes, bool* more);
  // Those that have this name, or had it before they were deleted: the newest, at most 64.
  absl::StatusOr<std::vector<WebhookId>> IdsOf(int64_t tenant_id, const std::string& name);
  // By number, after `after`, at most `limit`.
  absl::StatusOr<std::vector<Webhook>> ListById(WebhookId after, int limit);

 private:
  absl::StatusOr<std::optional<Webhook>> ReadOne(Statement& statement);
  absl::StatusOr<std::vector<Webhook>> ReadAll(Statement& statement);
  absl::Status ReadParts(Webhook* webhook);

  Statement by_name_;
  Statement by_id_;
  Statement list_by_name_;
  Statement list_by_id_;
  Statement ids_of_name_;
  Statement headers_;
  Statement types_;
  Statement secrets_;
};

// Writes webhooks. Not thread-safe: it belongs to the writer thread, inside a transaction.
class WebhookTable {
 public:
  static absl::StatusOr<WebhookTable> Create(Database& db);

  // Gives the webhook its id.
  absl::Status Insert(int64_t tenant_id, absl::Time now, Webhook* webhook);
  // Keeps in mind since when the webhook is disabled.
  absl::Status Update(const Webhook& webhook, absl::Time now);
  // Leaves a row that says which webhook it was, without what it was configured with. No delivery
  // of its is younger than `last_delivery_id`.
  absl::Status Bury(WebhookId id, int64_t last_delivery_id, absl::Time now);
  absl::Status SetFailingSince(WebhookId id, absl::Time failing_since);

 private:
  absl::Status WriteParts(const Webhook& webhook);
  absl::Status EraseParts(WebhookId id);

  Database* db_ = nullptr;
  Statement insert_;
  Statement update_;
  Statement bury_;
  Statement failing_since_;
  Statement insert_header_;
  Statement insert_type_;
  Statement insert_secret_;
  Statement erase_headers_;
  Statement erase_types_;
  Statement erase_secrets_;
};

}  // namespace postrider
