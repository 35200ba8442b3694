#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "src/outbox/outbox.h"
#include "src/outbox/sqlite/effects.h"
#include "src/outbox/sqlite/write_session.h"

namespace postrider {

// A status that shares nothing with the one given. Statuses count their references in Debian's
// libabsl_status, where ThreadSanitizer does not see it, and takes the last release for a race: so
// those that are answered on other threads are each given their own.
inline absl::Status Unshared(const absl::Status& status) {
  return absl::Status(status.code(), status.message());
}

// What is known when a transaction begins.
struct TransactionContext {
  absl::Time now;
  // Why nothing new may be published; OK when it may.
  absl::Status admission;
};

// A write on its way: it waits in the writer's queue, is done in a transaction with others, and is
// answered after the commit. Owned by one thread at a time.
class Command {
 public:
  virtual ~Command() = default;

  // An error is the database's and ends the transaction.
  virtual absl::Status Execute(WriteSession& session, const TransactionContext& context,
                               Effects* effects) = 0;
  // Calls `done`: with the result, or with `failure` when that is an error. Once.
  virtual void Answer(const absl::Status& failure) = 0;

  // What it weighs in the queue, and how many rows it may write: a transaction is bounded by both.
  size_t bytes() const { return bytes_; }
  size_t rows() const { return rows_; }

 protected:
  Command(size_t bytes, size_t rows) : bytes_(bytes), rows_(rows) {}

 private:
  const size_t bytes_;
  const size_t rows_;
};

// A command that answers a value.
template <typename T>
class ValueCommand : public Command {
 public:
  void Answer(const absl::Status& failure) final {
    if (failure.ok()) {
      std::move(done_)(std::move(result_));
    } else {
      std::move(done_)(Unshared(failure));
    }
  }

 protected:
  ValueCommand(size_t bytes, size_t rows, Outbox::Done<T> done)
      : Command(bytes, rows), done_(std::move(done)) {}

  absl::StatusOr<T> result_;

 private:
  Outbox::Done<T> done_;
};

// A command that answers nothing but that it was done.
class StatusCommand : public Command {
 public:
  void Answer(const absl::Status& failure) final { std::move(done_)(Unshared(failure)); }

 protected:
  StatusCommand(size_t bytes, size_t rows, Outbox::StatusDone done)
      : Command(bytes, rows), done_(std::move(done)) {}

 private:
  Outbox::StatusDone done_;
};

class PublishCommand final : public ValueCommand<std::vector<absl::StatusOr<Published>>> {
 public:
  PublishCommand(std::vector<NewNotification> notifications,
                 Outbox::Done<std::vector<absl::StatusOr<Published>>> done);
  absl::Status Execute(WriteSession& session, const TransactionContext& context,
                       Effects* effects) override;

 private:
  const std::vector<NewNotification> notifications_;
};

class ModifyWebhookCommand final : public ValueCommand<Webhook> {
 public:
  ModifyWebhookCommand(std::string tenant, std::string name, Outbox::Modify modify,
                       Outbox::Done<Webhook> done);
  absl::Status Execute(WriteSession& session, const TransactionContext& context,
                       Effects* effects) override;

 private:
  const std::string tenant_;
  const std::string name_;
  Outbox::Modify modify_;
};

class DisableWebhookCommand final : public StatusCommand {
 public:
  DisableWebhookCommand(WebhookId id, int64_t version, std::string reason, Outbox::StatusDone done);
  absl::Status Execute(WriteSession& session, const TransactionContext& context,
                       Effects* effects) override;

 private:
  const WebhookId id_;
  const int64_t version_;
  const std::string reason_;
};

class RecordOutcomesCommand final : public StatusCommand {
 public:
  RecordOutcomesCommand(OutcomeBatch batch, Outbox::StatusDone done);
  absl::Status Execute(WriteSession& session, const TransactionContext& context,
                       Effects* effects) override;

 private:
  const OutcomeBatch batch_;
};

class RetryDeliveryCommand final : public ValueCommand<Delivery> {
 public:
  RetryDeliveryCommand(std::string tenant, DeliveryId id, Outbox::Done<Delivery> done);
  absl::Status Execute(WriteSession& session, const TransactionContext& context,
                       Effects* effects) override;

 private:
  const std::string tenant_;
  const DeliveryId id_;
};

}  // namespace postrider
