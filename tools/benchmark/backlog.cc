#include "tools/benchmark/backlog.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tools/benchmark/environment.h"
#include "tools/benchmark/message.h"
#include "tools/benchmark/server_process.h"

namespace postrider::bench {
namespace {

constexpr int64_t kRowsPerTransaction = 10'000;
// The notifications look as if they had been published at 50,000 a second, up to now.
constexpr int64_t kMicrosApart = 20;

}  // namespace

std::string DatabasePath(const std::string& data_dir) { return data_dir + "/outbox.db"; }

void MakeOneOwed(const std::string& server_binary, const std::string& data_dir, Sink& sink,
                 int max_concurrency) {
  {
    ServerProcess server(server_binary, data_dir);
    server.Configure({"bench-0", sink.HealthyUrl(0), {NotificationType(0)}, max_concurrency});
    sink.SetHang(true);
    server.Publish(PublishRequest("", 0));
  }
  sink.SetHang(false);
  const SqlitePtr db = OpenSqlite(DatabasePath(data_dir));
  // The server was killed, and its log is copied here: the file is whole without it. One of an
  // older schema does not have the mark.
  sqlite3_exec(db.get(), "UPDATE meta SET in_use = 0", nullptr, nullptr, nullptr);
  ExecSqlite(db.get(), "PRAGMA wal_checkpoint(TRUNCATE)");
}

WebhookCloner::WebhookCloner(sqlite3* db)
    : webhook_(db, "webhook", "id = 1"),
      type_(db, "webhook_type", "webhook_id = 1"),
      secret_(db, "webhook_secret", "webhook_id = 1") {
  for (size_t i = 0; i < AdditionalHeaders().size(); ++i) {
    headers_.emplace_back(db, "webhook_header", absl::StrCat("webhook_id = 1 AND position = ", i));
  }
}

void WebhookCloner::Insert(const WebhookCopy& copy) {
  webhook_.Set(webhook_.Column("id"), copy.id);
  webhook_.Set(webhook_.Column("tenant_id"), copy.tenant_id);
  webhook_.Set(webhook_.Column("name"), copy.name);
  webhook_.Set(webhook_.Column("url"), copy.url);
  webhook_.Insert();
  for (RowCloner& header : headers_) {
    header.Set(header.Column("webhook_id"), copy.id);
    header.Insert();
  }
  type_.Set(type_.Column("webhook_id"), copy.id);
  type_.Set(type_.Column("type"), copy.type);
  type_.Insert();
  secret_.Set(secret_.Column("webhook_id"), copy.id);
  secret_.Insert();
}

OwedCloner::OwedCloner(sqlite3* db)
    : notification_(db, "notification", "id = (SELECT min(id) FROM notification)"),
      delivery_(db, "delivery", "id = (SELECT min(id) FROM delivery)"),
      notification_numbers_(IntFromSqlite(db, "SELECT max(id) FROM notification")),
      delivery_numbers_(IntFromSqlite(db, "SELECT max(id) FROM delivery")),
      notification_id_(notification_.Column("id")),
      create_us_(notification_.Column("create_us")),
      first_delivery_id_(notification_.Column("first_delivery_id")),
      type_(notification_.Column("type")),
      delivery_id_(delivery_.Column("id")),
      delivery_notification_id_(delivery_.Column("notification_id")),
      webhook_id_(delivery_.Column("webhook_id")),
      due_us_(delivery_.Column("due_us")) {}

void OwedCloner::Insert(int64_t time_us, int64_t webhook_id, const std::string& type) {
  const int64_t notification = notification_numbers_.Next(time_us);
  const int64_t delivery = delivery_numbers_.Next(time_us);
  notification_.Set(notification_id_, notification);
  notification_.Set(create_us_, time_us);
  notification_.Set(first_delivery_id_, delivery);
  if (!type.empty()) notification_.Set(type_, type);
  notification_.Insert();
  delivery_.Set(delivery_id_, delivery);
  delivery_.Set(delivery_notification_id_, notification);
  delivery_.Set(webhook_id_, webhook_id);
  delivery_.Set(due_us_, time_us);
  delivery_.Insert();
}

void MakeBacklog(const std::string& server_binary, const std::string& data_dir, Sink& sink,
                 const BacklogSpec& spec) {
  MakeOneOwed(server_binary, data_dir, sink, spec.max_concurrency);
  const SqlitePtr db = OpenSqlite(DatabasePath(data_dir));
  // Nobody waits for these: they are made lasting by the checkpoint below.
  ExecSqlite(db.get(),
             "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -65536;"
             "PRAGMA wal_autocheckpoint = 20000; BEGIN IMMEDIATE");
  std::vector<std::string> types(static_cast<size_t>(spec.webhooks));
  types[0] = NotificationType(0);
  if (spec.webhooks > 1) {
    WebhookCloner webhooks(db.get());
    for (int i = 1; i < spec.webhooks; ++i) {
      types[static_cast<size_t>(i)] = NotificationType(i);
      webhooks.Insert(
          {i + 1, 1, absl::StrCat("bench-", i), sink.HealthyUrl(i), types[static_cast<size_t>(i)]});
    }
  }
  {
    OwedCloner owed(db.get());
    // Rows go to the end of their tables, so the original is dated back with the first of them.
    int64_t time_us = IntFromSqlite(db.get(), "SELECT max(create_us) FROM notification");
    for (int64_t i = 1; i < spec.owed; ++i) {
      const auto webhook = static_cast<size_t>(i % spec.webhooks);
      time_us += kMicrosApart;
      owed.Insert(time_us, static_cast<int64_t>(webhook) + 1, types[webhook]);
      if (i % kRowsPerTransaction == 0) ExecSqlite(db.get(), "COMMIT; BEGIN IMMEDIATE");
    }
  }
  ExecSqlite(db.get(), "COMMIT");
  sqlite3_exec(db.get(), "UPDATE meta SET in_use = 0", nullptr, nullptr, nullptr);
  ExecSqlite(db.get(), "PRAGMA wal_checkpoint(TRUNCATE)");
  const int64_t found = IntFromSqlite(db.get(), "SELECT count(*) FROM delivery WHERE state = 0");
  if (found != spec.owed) Fail(absl::StrCat("the backlog has ", found, " deliveries"));
}

void CopyDataDir(const std::string& from, const std::string& to) {
  std::filesystem::copy(from, to, std::filesystem::copy_options::recursive);
  const int fd = open(to.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 || syncfs(fd) != 0) Fail(absl::StrCat("syncing ", to));
  close(fd);
}

}  // namespace postrider::bench
