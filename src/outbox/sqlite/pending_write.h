#pragma once

#include <cstddef>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "src/outbox/sqlite/effects.h"
#include "src/outbox/sqlite/write_session.h"

namespace postrider {

// A status that shares nothing with the one given. Statuses count their references in Debian's
// libabsl_status, where ThreadSanitizer does not see it, and takes the last release for a race: so
// those that are answered on other threads are each given their own.
inline absl::Status Unshared(const absl::Status& status) {
  return absl::Status(status.code(), status.message());
}

// What a write works with, inside a transaction.
struct WriteContext {
  WriteSession& session;
  Effects& effects;
  // When the transaction began, as precise as it is stored: what is told in memory is what is on
  // disk.
  absl::Time now;
  // Why nothing new may be published; OK when it may.
  absl::Status admission;
};

// A write on its way: it waits in the writer's queue, is done in a transaction with others, and is
// answered after the commit. Owned by one thread at a time.
class PendingWrite {
 public:
  virtual ~PendingWrite() = default;

  // An error is the database's and ends the transaction.
  virtual absl::Status Run(WriteContext& context) = 0;
  // Calls `done`: with the result, or with `failure` when that is an error. Once.
  virtual void Answer(const absl::Status& failure) = 0;

  // What it weighs in the queue, and how many rows it may write: a transaction is bounded by both.
  size_t bytes() const { return bytes_; }
  size_t rows() const { return rows_; }

 protected:
  PendingWrite(size_t bytes, size_t rows) : bytes_(bytes), rows_(rows) {}

 private:
  const size_t bytes_;
  const size_t rows_;
};

// A write whose work is a closure, `absl::Status work(WriteContext&, Result*)`. Result is what
// `done` takes: an absl::Status, or an absl::StatusOr that the work must fill.
template <typename Result, typename Work>
class ClosureWrite final : public PendingWrite {
 public:
  using Done = absl::AnyInvocable<void(Result) &&>;

  ClosureWrite(size_t bytes, size_t rows, Done done, Work work)
      : PendingWrite(bytes, rows), done_(std::move(done)), work_(std::move(work)) {}

  absl::Status Run(WriteContext& context) override { return work_(context, &result_); }
  void Answer(const absl::Status& failure) override {
    std::move(done_)(failure.ok() ? std::move(result_) : Result(Unshared(failure)));
  }

 private:
  Done done_;
  Work work_;
  Result result_;
};

}  // namespace postrider
