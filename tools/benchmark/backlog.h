#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <string>

#include "tools/benchmark/row_cloner.h"
#include "tools/benchmark/sink.h"

namespace postrider::bench {

struct BacklogSpec {
  int64_t owed = 0;
  // Each owes an equal share, and has a notification type, a path and, in turn, a port of its own.
  int webhooks = 1;
  int max_concurrency = 16;
};

// Makes a data directory that owes so many deliveries, one for each notification. The server itself
// writes the first webhook, notification and delivery; it is then killed, and their rows are
// copied. All is on disk, and the log empty, when it returns.
void MakeBacklog(const std::string& server_binary, const std::string& data_dir, Sink& sink,
                 const BacklogSpec& spec);

// A data directory with one webhook and one notification that is owed, and no server: what is
// copied above, and what the bare SQLite loop inserts into.
void MakeOneOwed(const std::string& server_binary, const std::string& data_dir, Sink& sink,
                 int max_concurrency);

// Copies the only webhook `count - 1` times in all its tables, each with its own number.
struct WebhookCopy {
  int64_t id;
  int64_t tenant_id;
  std::string name;
  std::string url;
  std::string type;
};
class WebhookCloner {
 public:
  explicit WebhookCloner(sqlite3* db);
  void Insert(const WebhookCopy& copy);

 private:
  RowCloner webhook_;
  std::vector<RowCloner> headers_;
  RowCloner type_;
  RowCloner secret_;
};

// Inserts a notification and its delivery, as one publish does.
class OwedCloner {
 public:
  // Copies those of the first notification.
  explicit OwedCloner(sqlite3* db);
  // `type`: empty for that of the original; it must stay until the next call.
  void Insert(int64_t time_us, int64_t webhook_id, const std::string& type);

 private:
  RowCloner notification_;
  RowCloner delivery_;
  RowNumbers notification_numbers_;
  RowNumbers delivery_numbers_;
  const int notification_id_, create_us_, first_delivery_id_, type_;
  const int delivery_id_, delivery_notification_id_, webhook_id_, due_us_;
};

// The path of a data directory's database.
std::string DatabasePath(const std::string& data_dir);

// Copies a data directory that no server uses, and waits until it is on disk.
void CopyDataDir(const std::string& from, const std::string& to);

}  // namespace postrider::bench
