#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "src/outbox/sqlite/database.h"

namespace postrider {

// From its first number on, ids are ahead of the clock by `ahead`.
struct IdEpoch {
  int64_t first_id = 0;
  absl::Duration ahead;
};

// What time it was when a number was given out. Numbers grow with time (base/ids.h) and never go
// back, though the clock does: a server that published once under a clock ten years ahead gives out
// numbers of 2036 for ever. So each time that the clock was set back by more than a second, an
// epoch begins, and a range of time is one range of numbers in each epoch. There is but one row an
// epoch, and none as long as the clock only goes on.
//
// Not thread-safe.
class IdEpochs {
 public:
  // A number's time is at most so much later than what the clock said.
  static constexpr absl::Duration kTolerance = absl::Seconds(1);

  // The numbers from `first` on and below `end`.
  struct Range {
    int64_t first = 0;
    int64_t end = 0;
  };

  IdEpochs() : epochs_(1) {}
  static absl::StatusOr<IdEpochs> Load(Statement& rows);
  static absl::StatusOr<Statement> PrepareLoad(Database& db);

  // The newest epoch's.
  absl::Duration ahead() const { return epochs_.back().ahead; }

  // Begins an epoch when the clock was set back by more than the tolerance; or when it was set
  // forward, so that numbers need not be so far ahead of it any more. `last_id`: the greatest that
  // was given out.
  std::optional<IdEpoch> Adjust(absl::Time now, int64_t last_id);
  // Takes back all epochs but so many.
  size_t size() const { return epochs_.size(); }
  void Resize(size_t size) { epochs_.resize(size); }

  // The numbers that were given out from `start` on and before `end`, with a few more: the newest
  // first.
  std::vector<Range> Between(absl::Time start, absl::Time end) const;
  // All numbers below it were given out before `time`, whatever the clock said then: what is of an
  // epoch that ended before `time` is older, though its own time may lie in the future.
  int64_t OlderThan(absl::Time time) const;

 private:
  // The first begins with number 0.
  std::vector<IdEpoch> epochs_;
};

}  // namespace postrider
