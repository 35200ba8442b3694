#include "src/outbox/sqlite/sqlite_outbox.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "src/base/random.h"
#include "src/base/status_macros.h"
#include "src/outbox/sqlite/completion.h"
#include "src/outbox/sqlite/data_dir.h"
#include "src/outbox/sqlite/log_vfs.h"
#include "src/outbox/sqlite/pending_write.h"
#include "src/outbox/sqlite/reader_pool.h"
#include "src/outbox/sqlite/schema.h"
#include "src/outbox/sqlite/writer.h"

namespace postrider {
namespace {

constexpr absl::Duration kMinRetention = absl::Hours(24);
constexpr int64_t kInstanceMask = (int64_t{1} << 40) - 1;
// What a write weighs in the queue beside the bytes that it carries.
constexpr size_t kOverhead = 256;
constexpr char kDefaultTenant[] = "default";
// For writes of the engines, which no tenant asks for.
constexpr char kHouse[] = "";

absl::Status CheckOptions(const SqliteOutboxOptions& options) {
  if (options.data_directory.empty()) {
    return absl::InvalidArgumentError("the data directory has no name");
  }
  if (options.retention < kMinRetention) {
    return absl::InvalidArgumentError(
        absl::StrCat("the retention is ", absl::FormatDuration(options.retention),
                     ": it must be at least 24h, for which idempotency keys are remembered"));
  }
  if (options.reader_threads < 1) {
    return absl::InvalidArgumentError("there must be at least one reader thread");
  }
  return absl::OkStatus();
}

using PublishResults = std::vector<absl::StatusOr<Published>>;

// A call of Publish. Many deliveries are written in several transactions, which end between
// notifications.
class Publishing {
 public:
  explicit Publishing(std::vector<NewNotification> notifications)
      : notifications_(std::move(notifications)), results_(notifications_.size()) {}

  // Stores what fits into the transaction, at least one notification.
  absl::Status Run(WriteContext& context, absl::StatusOr<PublishResults>* results) {
    absl::Status refusal = context.admission;
    if (refusal.ok() && next_ == 0) {
      RETURN_IF_ERROR(context.session.CheckFanOut(notifications_, &refusal));
    }
    if (!refusal.ok()) {
      *results = next_ > 0 ? PartStored(refusal) : Unshared(refusal);
      if (!context.admission.ok()) ++context.effects.counts().refused;
      return absl::OkStatus();
    }
    const size_t first = next_;
    for (; next_ < notifications_.size(); ++next_) {
      context.unfinished = next_ > first && context.full();
      if (context.unfinished) return absl::OkStatus();
      const NewNotification& notification = notifications_[next_];
      const size_t before = context.effects.counts().deliveries;
      RETURN_IF_ERROR(context.session.Publish(notification, context.now, context.due,
                                              &context.effects, &results_[next_]));
      context.rows += 1 + context.effects.counts().deliveries - before;
      context.bytes += kOverhead + notification.body->size();
    }
    *results = std::move(results_);
    return absl::OkStatus();
  }

 private:
  const std::vector<NewNotification> notifications_;
  PublishResults results_;
  // The first that is not stored yet.
  size_t next_ = 0;
};

}  // namespace

class SqliteOutbox::Impl {
 public:
  static absl::StatusOr<std::unique_ptr<Impl>> Open(const SqliteOutboxOptions& options,
                                                    const Clock& clock, OutboxListener* listener,
                                                    OnFatal on_fatal);

  void Close() {
    // The readers first: the log can only be emptied when nobody reads it.
    readers_->Close();
    writer_->Close();
  }

  // The last answers are given while everything that they may call is still there.
  void EndAnswers() { completion_.Stop(); }

  // Lets `work(context, &result)` run in a transaction, in the tenant's turn, and answers `done`
  // with the result when that is on disk. `bytes`: what it weighs in the queue.
  template <typename Result, typename Work>
  void Write(std::string tenant, size_t bytes, absl::AnyInvocable<void(Result) &&> done,
             Work work) {
    writer_->Submit(std::make_unique<ClosureWrite<Result, Work>>(std::move(tenant), bytes,
                                                                 std::move(done), std::move(work)));
  }

  // Answers `done` with what `read(session)` returns, in the tenant's turn.
  template <typename T, typename Read>
  void Ask(const std::string& tenant, Outbox::Done<T> done, Read read) {
    ReaderPool::Job job = [this, done = std::move(done),
                           read = std::move(read)](absl::StatusOr<ReadSession*> session) mutable {
      if (!session.ok()) return std::move(done)(session.status());
      metrics_.reads.Add();
      std::move(done)(read(**session));
    };
    absl::Status refused = readers_->Submit(tenant, job);
    if (refused.ok()) return;
    metrics_.reads_refused.Add();
    FinishedBatch answer;
    answer.then = [job = std::move(job), refused = std::move(refused)]() mutable {
      std::move(job)(std::move(refused));
    };
    completion_.Post(std::move(answer));
  }

  const IdCodec& ids() const { return ids_; }
  const SqliteOutboxMetrics& metrics() const { return metrics_; }

 private:
  Impl(DirectoryLock lock, uint64_t instance, OutboxListener* listener)
      : lock_(std::move(lock)), ids_(instance), completion_(listener) {}

  // In the order of their making: the lock is let go last.
  const DirectoryLock lock_;
  const IdCodec ids_;
  SqliteOutboxMetrics metrics_;
  CompletionThread completion_;
  std::unique_ptr<Writer> writer_;
  std::unique_ptr<ReaderPool> readers_;
};

absl::StatusOr<std::unique_ptr<SqliteOutbox::Impl>> SqliteOutbox::Impl::Open(
    const SqliteOutboxOptions& options, const Clock& clock, OutboxListener* listener,
    OnFatal on_fatal) {
  RETURN_IF_ERROR(CheckOptions(options));
  RETURN_IF_ERROR(EnsureDirectory(options.data_directory));
  ASSIGN_OR_RETURN(DirectoryLock lock, LockDirectory(options.data_directory));
  const std::string path = options.data_directory + "/outbox.db";
  if (!FileExists(path)) {
    const auto instance = static_cast<int64_t>(SecureRandom().Next()) & kInstanceMask;
    RETURN_IF_ERROR(CreateDatabase(options.data_directory, instance, options.vfs));
  }
  ASSIGN_OR_RETURN(Database db, OpenDatabase(path, LogVfs(options.vfs)));
  ASSIGN_OR_RETURN(const int64_t instance, db.Int("SELECT instance FROM meta"));
  ASSIGN_OR_RETURN(std::unique_ptr<WriteSession> session,
                   WriteSession::Create(std::move(db), options));
  RETURN_IF_ERROR(session->PutTimesRight());
  std::vector<std::unique_ptr<ReadSession>> sessions;
  for (int i = 0; i < options.reader_threads; ++i) {
    ASSIGN_OR_RETURN(sessions.emplace_back(), ReadSession::Open(path, options.vfs));
  }
  ASSIGN_OR_RETURN(DataFiles files, DataFiles::Of(options.data_directory));
  std::unique_ptr<Impl> impl(new Impl(std::move(lock), static_cast<uint64_t>(instance), listener));
  impl->readers_ = std::make_unique<ReaderPool>(std::move(sessions), options.max_queued_reads,
                                                impl->metrics_.queued_reads);
  ASSIGN_OR_RETURN(std::unique_ptr<BacklogCount> before,
                   BacklogCount::Begin(path, options.vfs, impl->readers_->running()));
  session->CountBacklog(std::move(before));
  impl->writer_ = std::make_unique<Writer>(options, clock, std::move(session), std::move(files),
                                           impl->readers_->running(), impl->completion_,
                                           impl->metrics_, std::move(on_fatal));
  return impl;
}

absl::StatusOr<std::unique_ptr<SqliteOutbox>> SqliteOutbox::Open(const SqliteOutboxOptions& options,
                                                                 const Clock& clock,
                                                                 OutboxListener* listener,
                                                                 OnFatal on_fatal) {
  ASSIGN_OR_RETURN(std::unique_ptr<Impl> impl,
                   Impl::Open(options, clock, listener, std::move(on_fatal)));
  return std::unique_ptr<SqliteOutbox>(new SqliteOutbox(std::move(impl)));
}

SqliteOutbox::SqliteOutbox(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SqliteOutbox::~SqliteOutbox() {
  Close();
  impl_->EndAnswers();
}
void SqliteOutbox::Close() { impl_->Close(); }
const SqliteOutboxMetrics& SqliteOutbox::metrics() const { return impl_->metrics(); }
const IdCodec& SqliteOutbox::ids() const { return impl_->ids(); }

// ---- Writes

void SqliteOutbox::Publish(std::vector<NewNotification> notifications,
                           Done<std::vector<absl::StatusOr<Published>>> done) {
  size_t bytes = kOverhead;
  for (const NewNotification& n : notifications) bytes += kOverhead + n.body->size();
  // One call is one tenant's, in all but name.
  std::string tenant = notifications.empty() ? kDefaultTenant : notifications.front().tenant;
  impl_->Write<absl::StatusOr<PublishResults>>(
      std::move(tenant), bytes, std::move(done),
      [publish = Publishing(std::move(notifications))](
          WriteContext& context, absl::StatusOr<PublishResults>* results) mutable {
        return publish.Run(context, results);
      });
}

void SqliteOutbox::ModifyWebhook(std::string tenant, std::string name, Modify modify,
                                 Done<Webhook> done) {
  using Result = absl::StatusOr<Webhook>;
  std::string of = tenant;
  impl_->Write<Result>(std::move(of), kOverhead, std::move(done),
                       [tenant = std::move(tenant), name = std::move(name),
                        modify = std::move(modify), walk = std::optional<OwedSweep::Walk>()](
                           WriteContext& context, Result* result) mutable {
                         if (walk) walk->looked_at = 0;
                         const absl::Status status = context.session.ModifyWebhook(
                             tenant, name, modify, context.now, &context.effects, &walk,
                             &context.unfinished, result);
                         // What is ended for it weighs as much as what others write.
                         context.rows += 1 + (walk ? walk->looked_at : 0);
                         return status;
                       });
}

void SqliteOutbox::DisableWebhook(WebhookId id, int64_t version, std::string reason,
                                  StatusDone done) {
  impl_->Write<absl::Status>(
      kHouse, kOverhead, std::move(done),
      [id, version, reason = std::move(reason)](WriteContext& context, absl::Status*) {
        ++context.rows;
        return context.session.DisableWebhook(id, version, reason, context.now, &context.effects);
      });
}

void SqliteOutbox::RecordOutcomes(OutcomeBatch batch, StatusDone done) {
  size_t bytes = kOverhead + batch.health.size() * sizeof(WebhookHealth);
  for (const AttemptOutcome& outcome : batch.outcomes) {
    bytes += sizeof outcome + outcome.error.size() + outcome.response_body.size();
  }
  impl_->Write<absl::Status>(
      kHouse, bytes, std::move(done),
      [batch = std::move(batch), bytes](WriteContext& context, absl::Status*) {
        context.rows += batch.outcomes.size() + batch.health.size();
        context.bytes += bytes;
        context.effects.counts().outcomes += batch.outcomes.size();
        return context.session.Record(batch, context.now);
      });
}

void SqliteOutbox::RetryDelivery(std::string tenant, DeliveryId id, Done<Delivery> done) {
  using Result = absl::StatusOr<Delivery>;
  std::string of = tenant;
  impl_->Write<Result>(
      std::move(of), kOverhead, std::move(done),
      [tenant = std::move(tenant), id](WriteContext& context, Result* result) {
        ++context.rows;
        return context.session.Retry(tenant, id, context.due, &context.effects, result);
      });
}

// ---- Reads

void SqliteOutbox::ReadOwed(WebhookId webhook, OwedKey after, int limit, size_t max_bytes,
                            Done<OwedPage> done) {
  impl_->Ask<OwedPage>(
      kHouse, std::move(done), [webhook, after, limit, max_bytes](ReadSession& session) {
        return session.ReadOwed(webhook, after, limit, max_bytes);
      });
}

void SqliteOutbox::LoadWebhooks(Done<std::vector<StartingWebhook>> done) {
  impl_->Ask<std::vector<StartingWebhook>>(
      kHouse, std::move(done),
      [](ReadSession& session) { return session.LoadWebhooks(); });
}

void SqliteOutbox::GetWebhook(std::string tenant, std::string name, Done<Webhook> done) {
  const std::string of = tenant;
  impl_->Ask<Webhook>(of, std::move(done),
                      [tenant = std::move(tenant), name = std::move(name)](ReadSession& session) {
                        return session.GetWebhook(tenant, name);
                      });
}

void SqliteOutbox::ListWebhooks(std::string tenant, std::string after, int limit,
                                Done<WebhookPage> done) {
  const std::string of = tenant;
  impl_->Ask<WebhookPage>(
      of, std::move(done),
      [tenant = std::move(tenant), after = std::move(after), limit](ReadSession& session) {
        return session.ListWebhooks(tenant, after, limit);
      });
}

void SqliteOutbox::GetNotification(std::string tenant, NotificationId id, Done<Notification> done) {
  const std::string of = tenant;
  impl_->Ask<Notification>(of, std::move(done),
                           [tenant = std::move(tenant), id](ReadSession& session) {
                             return session.GetNotification(tenant, id);
                           });
}

void SqliteOutbox::ListNotifications(NotificationFilter filter, Done<NotificationPage> done) {
  const std::string of = filter.tenant;
  impl_->Ask<NotificationPage>(of, std::move(done),
                               [filter = std::move(filter)](ReadSession& session) {
                                 return session.ListNotifications(filter);
                               });
}

void SqliteOutbox::GetDelivery(std::string tenant, DeliveryId id, Done<DeliveryWithAttempts> done) {
  const std::string of = tenant;
  impl_->Ask<DeliveryWithAttempts>(of, std::move(done),
                                   [tenant = std::move(tenant), id](ReadSession& session) {
                                     return session.GetDelivery(tenant, id);
                                   });
}

void SqliteOutbox::ListDeliveries(DeliveryFilter filter, Done<DeliveryPage> done) {
  const std::string of = filter.tenant;
  impl_->Ask<DeliveryPage>(of, std::move(done),
                           [filter = std::move(filter)](ReadSession& session) {
                             return session.ListDeliveries(filter);
                           });
}

}  // namespace postrider
