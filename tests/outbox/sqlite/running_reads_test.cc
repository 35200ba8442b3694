#include "src/outbox/sqlite/running_reads.h"

#include <atomic>
#include <optional>
#include <thread>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace postrider {
namespace {

TEST(RunningReadsTest, WaitsForThoseThatRan) {
  RunningReads reads;
  EXPECT_TRUE(reads.Await(absl::ZeroDuration()));
  std::optional<RunningReads::Read> read(std::in_place, reads);
  EXPECT_FALSE(reads.Await(absl::ZeroDuration()));
  std::thread other([&] { read.reset(); });
  EXPECT_TRUE(reads.Await(absl::InfiniteDuration()));
  other.join();
}

// Each end of a read would begin the time anew, and the writer stand still for as long as the
// count at the start takes.
TEST(RunningReadsTest, ShortReadsDoNotProlongTheWaitForALongOne) {
  RunningReads reads;
  const RunningReads::Read long_one(reads);
  // They come one after the other, for much longer than it may wait.
  constexpr int kShort = 5000;
  std::atomic<int> left{kShort};
  std::atomic<bool> waited{false};
  std::thread others([&] {
    for (; left > 0 && !waited; --left) {
      const RunningReads::Read short_one(reads);
      absl::SleepFor(absl::Milliseconds(1));
    }
  });
  EXPECT_FALSE(reads.Await(absl::Milliseconds(100)));
  EXPECT_GT(left, 0);
  waited = true;
  others.join();
}

}  // namespace
}  // namespace postrider
