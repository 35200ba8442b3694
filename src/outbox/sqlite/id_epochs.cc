#include "src/outbox/sqlite/id_epochs.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "src/base/ids.h"
#include "src/base/status_macros.h"

namespace postrider {
namespace {

constexpr int64_t kMaxId = std::numeric_limits<int64_t>::max();

}  // namespace

absl::StatusOr<Statement> IdEpochs::PrepareLoad(Database& db) {
  return db.Prepare("SELECT first_id, ahead_ms FROM id_epoch ORDER BY first_id");
}

absl::StatusOr<IdEpochs> IdEpochs::Load(Statement& rows) {
  const ResetOnExit reset(rows);
  IdEpochs epochs;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, rows.Next());
    if (!row) return epochs;
    epochs.epochs_.push_back({rows.Int(0), absl::Milliseconds(rows.Int(1))});
  }
}

std::optional<IdEpoch> IdEpochs::Adjust(absl::Time now, int64_t last_id) {
  const absl::Time last = IdSequence::TimeOf(last_id);
  const bool set_back = last - (now + ahead()) > kTolerance;
  const absl::Duration needed =
      std::max(absl::ZeroDuration(), last + absl::Milliseconds(1) - now);
  // Half, so that a quiet minute does not begin an epoch each time.
  const bool too_far = ahead() > kTolerance && needed < ahead() / 2;
  if (!set_back && !too_far) return std::nullopt;
  const IdEpoch epoch{IdSequence::FloorFor(now + needed),
                      absl::Ceil(needed, absl::Milliseconds(1))};
  // Numbers have come to the end of their time: they go on one by one.
  if (epoch.first_id <= last_id) return std::nullopt;
  epochs_.push_back(epoch);
  return epoch;
}

std::vector<IdEpochs::Range> IdEpochs::Between(absl::Time start, absl::Time end) const {
  // Numbers know milliseconds: the last one in part belongs to the range, and is looked at.
  const absl::Time ceiling = end + kTolerance + absl::Milliseconds(1);
  std::vector<Range> ranges;
  int64_t next = kMaxId;
  for (size_t i = epochs_.size(); i-- > 0;) {
    const IdEpoch& epoch = epochs_[i];
    Range range;
    range.first = std::max(epoch.first_id, IdSequence::FloorFor(start + epoch.ahead));
    range.end = end == absl::InfiniteFuture()
                    ? next
                    : std::min(next, IdSequence::FloorFor(ceiling + epoch.ahead));
    if (range.first < range.end) ranges.push_back(range);
    next = epoch.first_id;
  }
  return ranges;
}

int64_t IdEpochs::OlderThan(absl::Time time) const {
  int64_t next = kMaxId;
  for (size_t i = epochs_.size(); i-- > 0;) {
    const IdEpoch& epoch = epochs_[i];
    const int64_t limit = IdSequence::FloorFor(time + epoch.ahead);
    if (limit > epoch.first_id) return std::min(limit, next);
    next = epoch.first_id;
  }
  return 0;
}

}  // namespace postrider
