#pragma once

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
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

// For a call of which a slice was committed before the rest failed.
inline absl::Status PartStored(const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrCat(status.message(), "; a part of this call was done before"));
}

// What a write works with, inside a transaction.
struct WriteContext {
  // One transaction: enough that the cost of the sync is shared by many, little enough that nobody
  // waits for long.
  static constexpr size_t kRows = 2048;
  static constexpr size_t kBytes = size_t{4} << 20;

  WriteSession& session;
  Effects& effects;
  // When the transaction began, as precise as it is stored: what is told in memory is what is on
  // disk.
  absl::Time now;
  // The same by the steady clock (base/clock.h): what becomes due now is due then.
  absl::Time due;
  // Why nothing new may be published; OK when it may.
  absl::Status admission;

  // What the transaction has written.
  size_t rows = 0;
  size_t bytes = 0;
  bool full() const { return rows >= kRows || bytes >= kBytes; }
  // Set by a write that stopped because the transaction is full: it is to be run again, in a later
  // one, after others.
  bool unfinished = false;
};

// A write on its way: it waits in the writer's queue, is done in a transaction with others, and is
// answered after the commit. One that is too large for a transaction is done in slices. Owned by
// one thread at a time.
class PendingWrite {
 public:
  virtual ~PendingWrite() = default;

  // Does the write, or its next slice. Adds to context.rows and context.bytes what it has written.
  // An error is the database's and ends the transaction.
  virtual absl::Status Run(WriteContext& context) = 0;
  // Calls `done`: with the result, or with `failure` when that is an error. Once.
  virtual void Answer(const absl::Status& failure) = 0;

  // It is a call of Publish.
  virtual bool publishes() const = 0;

  // Whose turn it takes; empty: the house's own.
  const std::string& tenant() const { return tenant_; }
  // What it weighs in the queue.
  size_t bytes() const { return bytes_; }
  // A slice of it is committed.
  void SetPartStored() { part_stored_ = true; }

 protected:
  PendingWrite(std::string tenant, size_t bytes) : tenant_(std::move(tenant)), bytes_(bytes) {}
  bool part_stored() const { return part_stored_; }

 private:
  const std::string tenant_;
  const size_t bytes_;
  bool part_stored_ = false;
};

// A write whose work is a closure, `absl::Status work(WriteContext&, Result*)`. Result is what
// `done` takes: an absl::Status, or an absl::StatusOr that the work must fill.
template <typename Result, typename Work>
class ClosureWrite final : public PendingWrite {
 public:
  using Done = absl::AnyInvocable<void(Result) &&>;

  ClosureWrite(std::string tenant, size_t bytes, Done done, Work work)
      : PendingWrite(std::move(tenant), bytes), done_(std::move(done)), work_(std::move(work)) {}

  absl::Status Run(WriteContext& context) override { return work_(context, &result_); }
  bool publishes() const override {
    return std::is_same_v<Result, absl::StatusOr<std::vector<absl::StatusOr<Published>>>>;
  }
  void Answer(const absl::Status& failure) override {
    std::move(done_)(failure.ok() ? std::move(result_) : Result(OwnFailure(failure)));
  }

 private:
  absl::Status OwnFailure(const absl::Status& failure) const {
    return part_stored() ? PartStored(failure) : Unshared(failure);
  }

  Done done_;
  Work work_;
  Result result_;
};

}  // namespace postrider
