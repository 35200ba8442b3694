#include "src/http/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/http/loop_thread.h"
#include "tests/support/fake_clock.h"

namespace postrider {
namespace {

using testing::ElementsAre;

// Two ends of a connection.
class SocketPair {
 public:
  SocketPair() {
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds_), 0);
  }
  ~SocketPair() {
    if (fds_[0] >= 0) close(fds_[0]);
    if (fds_[1] >= 0) close(fds_[1]);
  }
  int near() const { return fds_[0]; }
  int TakeNear() { return std::exchange(fds_[0], -1); }
  void Write() const { EXPECT_EQ(write(fds_[1], "x", 1), 1); }
  void Read() const {
    char byte;
    EXPECT_EQ(read(fds_[0], &byte, 1), 1);
  }
  void CloseFar() {
    close(fds_[1]);
    fds_[1] = -1;
  }

 private:
  int fds_[2] = {-1, -1};
};

class FakeWatcher final : public EventLoop::Watcher {
 public:
  explicit FakeWatcher(absl::AnyInvocable<void(int, uint32_t)> then) : then_(std::move(then)) {}
  void OnReady(int fd, uint32_t events) override { then_(fd, events); }

 private:
  absl::AnyInvocable<void(int, uint32_t)> then_;
};

class FakeTimed final : public EventLoop::Timed {
 public:
  explicit FakeTimed(absl::AnyInvocable<void()> on_turn) : on_turn_(std::move(on_turn)) {}
  void OnTurn() override { on_turn_(); }
  absl::Duration Deadline() const override { return deadline; }

  absl::Duration deadline = absl::InfiniteDuration();

 private:
  absl::AnyInvocable<void()> on_turn_;
};

// ---- How busy it is

TEST(EventLoopTest, SaysHowMuchOfItsTimeItDoesNotWait) {
  FakeClock clock;
  auto loop = *EventLoop::Create(clock);
  EXPECT_EQ(loop->busy(), 0);
  std::vector<float> busy;
  // A turn that works for 3 ms of the fake clock, and waits for none of it.
  const auto work = [&] {
    busy.push_back(loop->busy());
    clock.Advance(absl::Milliseconds(3));
    loop->Post([] {});
  };
  FakeTimed timed([&] {
    work();
    if (busy.size() == 4) loop->Stop();
  });
  loop->AddTimed(&timed);
  loop->Run();
  // Of the first turn's 3 ms it says nothing yet: that is less than the shortest period.
  EXPECT_THAT(busy, ElementsAre(0, 0, 1, 1));
}

TEST(EventLoopTest, ALoopThatWaitsIsNotBusyWhateverItWasBefore) {
  FakeClock clock;
  auto loop = *EventLoop::Create(clock);
  Mailbox<float> turns;
  FakeTimed timed([&] {
    clock.Advance(absl::Milliseconds(10));
    turns.Put(loop->busy());
    if (turns.size() % 4 != 0) loop->Post([] {});
  });
  loop->AddTimed(&timed);
  std::thread thread([&] { loop->Run(); });
  EXPECT_THAT(turns.WaitFor(4), ElementsAre(0, 1, 1, 1));
  size_t seen = 4;
  for (const absl::Duration wait : {absl::Hours(1000), absl::Hours(1)}) {
    // It waits now, or is about to.
    const absl::Time deadline = absl::Now() + absl::Minutes(1);
    while (loop->busy() > 0 && absl::Now() < deadline) {
      clock.Advance(absl::Milliseconds(1));
      absl::SleepFor(absl::Microseconds(100));
    }
    EXPECT_EQ(loop->busy(), 0);
    clock.Advance(wait);
    // As soon as it works again only that counts.
    loop->Post([] {});
    const std::vector<float> turns_now = turns.WaitFor(seen + 4);
    EXPECT_LT(turns_now[seen], 0.5F);
    EXPECT_THAT(std::vector<float>(turns_now.begin() + static_cast<int>(seen) + 1, turns_now.end()),
                ElementsAre(1, 1, 1));
    seen += 4;
  }
  loop->Stop();
  thread.join();
}

// ---- Closures

TEST(EventLoopTest, RunsClosuresInTheOrderOfTheirPosting) {
  LoopThread thread;
  std::vector<int> ran;
  for (int i = 0; i < 100; ++i) {
    thread.loop().Post([&ran, i] { ran.push_back(i); });
  }
  EXPECT_TRUE(ran.empty());
  thread.Start();
  thread.Call([] {});
  ASSERT_EQ(ran.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(ran[i], i);
}

TEST(EventLoopTest, AClosureMayPost) {
  LoopThread thread;
  Mailbox<int> ran;
  thread.Start();
  thread.loop().Post([&] {
    thread.loop().Post([&] { ran.Put(2); });
    ran.Put(1);
  });
  EXPECT_THAT(ran.WaitFor(2), ElementsAre(1, 2));
}

TEST(EventLoopTest, AllThatWasPostedRunsInTheSameTurn) {
  LoopThread thread;
  int turns = 0;
  std::vector<int> ran_in;
  FakeTimed timed([&] { ++turns; });
  thread.loop().AddTimed(&timed);
  thread.Start();
  thread.Call([&] {
    for (int i = 0; i < 1000; ++i) thread.loop().Post([&] { ran_in.push_back(turns); });
  });
  thread.Turn();
  thread.Stop();
  ASSERT_EQ(ran_in.size(), 1000u);
  EXPECT_EQ(ran_in.front(), ran_in.back());
}

TEST(EventLoopTest, TakesClosuresOfManyThreads) {
  LoopThread thread;
  int ran = 0;
  thread.Start();
  std::vector<std::thread> posters;
  posters.reserve(8);
  for (int i = 0; i < 8; ++i) {
    posters.emplace_back([&] {
      for (int j = 0; j < 1000; ++j) thread.loop().Post([&] { ++ran; });
    });
  }
  for (std::thread& poster : posters) poster.join();
  thread.Call([] {});
  thread.Stop();
  EXPECT_EQ(ran, 8000);
}

// ---- Stopping

TEST(EventLoopTest, StopIsIdempotentAlsoBeforeRun) {
  LoopThread thread;
  thread.loop().Stop();
  thread.loop().Stop();
  thread.loop().Run();
  thread.loop().Run();
}

TEST(EventLoopTest, ClosuresAfterStopAreDestroyedUnrun) {
  LoopThread thread;
  const auto alive = std::make_shared<int>();
  thread.loop().Post([alive] { FAIL(); });
  EXPECT_EQ(alive.use_count(), 2);
  thread.loop().Stop();
  EXPECT_EQ(alive.use_count(), 1);
  thread.loop().Post([alive] { FAIL(); });
  EXPECT_EQ(alive.use_count(), 1);
  thread.loop().Run();
}

TEST(EventLoopTest, WhatAClosurePostsAfterItsStopIsNotRun) {
  LoopThread thread;
  thread.Start();
  thread.Call([&] {
    thread.loop().Stop();
    thread.loop().Post([] { FAIL(); });
  });
  thread.Stop();
}

TEST(EventLoopTest, AClosureThatIsDestroyedMayPost) {
  // Runs at its end, wherever that is.
  struct AtEnd {
    EventLoop* loop;
    explicit AtEnd(EventLoop* l) : loop(l) {}
    ~AtEnd() {
      loop->Post([] {});
    }
  };
  LoopThread thread;
  thread.loop().Post([at_end = std::make_shared<AtEnd>(&thread.loop())] {});
  thread.loop().Stop();
  thread.loop().Post([at_end = std::make_shared<AtEnd>(&thread.loop())] {});
}

TEST(EventLoopTest, StopsWhileAllPost) {
  for (int round = 0; round < 50; ++round) {
    LoopThread thread;
    thread.Start();
    const auto alive = std::make_shared<int>();
    std::atomic<bool> go{false};
    std::vector<std::thread> others;
    others.reserve(4);
    for (int i = 0; i < 4; ++i) {
      others.emplace_back([&] {
        while (!go) std::this_thread::yield();
        for (int j = 0; j < 50; ++j) thread.loop().Post([alive] {});
        thread.loop().Stop();
        for (int j = 0; j < 50; ++j) thread.loop().Post([alive] { FAIL(); });
      });
    }
    go = true;
    for (std::thread& other : others) other.join();
    thread.Stop();
    EXPECT_EQ(alive.use_count(), 1);
  }
}

// ---- Descriptors

TEST(EventLoopTest, TellsWhatADescriptorIsReadyFor) {
  LoopThread thread;
  SocketPair pair;
  Mailbox<uint32_t> told;
  FakeWatcher watcher([&](int fd, uint32_t events) {
    EXPECT_EQ(fd, pair.near());
    told.Put(events);
    if ((events & EPOLLOUT) != 0) {
      thread.loop().Watch(fd, EPOLLIN, &watcher);
    } else if ((events & EPOLLHUP) != 0) {
      thread.loop().Unwatch(fd);
    } else {
      pair.Read();
    }
  });
  thread.loop().Watch(pair.near(), EPOLLIN | EPOLLOUT, &watcher);
  thread.Start();
  EXPECT_THAT(told.WaitFor(1), ElementsAre(EPOLLOUT));
  pair.Write();
  EXPECT_THAT(told.WaitFor(2), ElementsAre(EPOLLOUT, EPOLLIN));
  pair.CloseFar();
  EXPECT_NE(told.WaitFor(3).at(2) & EPOLLHUP, 0u);
  thread.Turn();
  thread.Stop();
  EXPECT_EQ(told.size(), 3u) << "it is watched no more";
}

TEST(EventLoopTest, APausedDescriptorIsNotToldOfUntilItIsWatchedAgain) {
  LoopThread thread;
  SocketPair pair;
  Mailbox<uint32_t> told;
  FakeWatcher watcher([&](int fd, uint32_t events) {
    pair.Read();
    thread.loop().Pause(fd);
    told.Put(events);
  });
  thread.Start();
  thread.Call([&] { thread.loop().Watch(pair.near(), EPOLLIN, &watcher); });
  pair.Write();
  EXPECT_EQ(told.WaitFor(1).size(), 1u);
  // Once with nothing to read while paused, once with something.
  thread.Call([&] { thread.loop().Watch(pair.near(), EPOLLIN, &watcher); });
  pair.Write();
  EXPECT_EQ(told.WaitFor(2).size(), 2u);
  pair.Write();
  thread.Turn();
  thread.Turn();
  EXPECT_EQ(told.size(), 2u);
  thread.Call([&] { thread.loop().Watch(pair.near(), EPOLLIN, &watcher); });
  EXPECT_EQ(told.WaitFor(3).size(), 3u);
  thread.Call([&] { thread.loop().Unwatch(pair.near()); });
}

TEST(EventLoopTest, APausedDescriptorThatIsReadyDoesNotKeepTheLoopBusy) {
  LoopThread thread;
  SocketPair pair;
  std::atomic<int> turns{0};
  FakeTimed timed([&] { ++turns; });
  FakeWatcher watcher([](int, uint32_t) { FAIL(); });
  thread.loop().AddTimed(&timed);
  thread.loop().Watch(pair.near(), EPOLLIN, &watcher);
  thread.loop().Pause(pair.near());
  pair.Write();
  thread.Start();
  thread.Turn();
  const int before = turns;
  // Each call is a turn; a busy loop would make more of its own meanwhile.
  for (int i = 0; i < 20; ++i) {
    thread.Call([] {});
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_LE(turns - before, 22);
  thread.Call([&] { thread.loop().Unwatch(pair.near()); });
  thread.Stop();
}

TEST(EventLoopTest, WatchersMayComeAndGoInsideACall) {
  LoopThread thread;
  SocketPair first;
  SocketPair second;
  Mailbox<int> told;
  FakeWatcher watcher([&](int fd, uint32_t) {
    // Both are ready; the one that comes first takes the other out.
    thread.loop().Unwatch(first.near());
    thread.loop().Unwatch(second.near());
    told.Put(fd);
  });
  first.Write();
  second.Write();
  thread.loop().Watch(first.near(), EPOLLIN, &watcher);
  thread.loop().Watch(second.near(), EPOLLIN, &watcher);
  thread.Start();
  told.WaitFor(1);
  thread.Turn();
  thread.Stop();
  EXPECT_EQ(told.size(), 1u);
}

TEST(EventLoopTest, ANumberThatIsOpenedAgainIsANewDescriptor) {
  LoopThread thread;
  Mailbox<int> told;
  FakeWatcher watcher([&](int fd, uint32_t) {
    thread.loop().Unwatch(fd);
    told.Put(fd);
  });
  SocketPair pair;
  SocketPair other;
  const int fd = dup(other.near());
  thread.loop().Watch(fd, EPOLLIN, &watcher);
  thread.loop().Pause(fd);
  close(other.TakeNear());
  // Closes it behind the loop's back, and opens another of that number.
  ASSERT_EQ(dup2(pair.near(), fd), fd);
  thread.loop().Forget(fd);
  thread.loop().Watch(fd, EPOLLIN, &watcher);
  thread.Start();
  pair.Write();
  EXPECT_EQ(told.WaitFor(1).size(), 1u);
  thread.Stop();
  close(fd);
}

TEST(EventLoopTest, UnwatchingWhatIsNotWatchedDoesNothing) {
  LoopThread thread;
  thread.loop().Unwatch(1000);
  thread.loop().Pause(1000);
  SocketPair pair;
  FakeWatcher watcher([](int, uint32_t) { FAIL(); });
  thread.loop().Watch(pair.near(), EPOLLIN, &watcher);
  thread.loop().Unwatch(pair.near());
  thread.loop().Unwatch(pair.near());
  pair.Write();
  thread.Start();
  thread.Turn();
}

// ---- Deadlines

TEST(EventLoopTest, TurnsEndWithTheTimedOnesInTheirOrder) {
  LoopThread thread;
  std::vector<std::string> order;
  FakeTimed first([&] { order.emplace_back("first"); });
  FakeTimed second([&] { order.emplace_back("second"); });
  thread.loop().AddTimed(&first);
  thread.loop().AddTimed(&second);
  thread.loop().Post([&] {
    order.emplace_back("closure");
    thread.loop().Post([&] { thread.loop().Stop(); });
  });
  thread.loop().Run();
  EXPECT_THAT(order, ElementsAre("closure", "first", "second", "first", "second"));
}

TEST(EventLoopTest, ATurnComesWhenADeadlineHasPassedAndNotBefore) {
  LoopThread thread;
  std::vector<absl::Duration> turns;
  const absl::Duration start = SystemClock().Monotonic();
  FakeTimed timed([&] {
    turns.push_back(SystemClock().Monotonic());
    if (turns.size() == 3) thread.loop().Stop();
    timed.deadline = turns.size() == 1 ? start + absl::Milliseconds(30) : absl::ZeroDuration();
  });
  FakeTimed never([] {});
  thread.loop().AddTimed(&timed);
  thread.loop().AddTimed(&never);
  thread.loop().Run();
  ASSERT_EQ(turns.size(), 3u);
  EXPECT_GE(turns[1], start + absl::Milliseconds(30));
}

TEST(EventLoopTest, DeadlinesAreThoseOfItsClock) {
  FakeClock clock;
  LoopThread thread(clock);
  Mailbox<absl::Duration> turns;
  FakeTimed timed([&] { turns.Put(clock.Monotonic()); });
  timed.deadline = clock.Monotonic() - absl::Seconds(1);
  thread.loop().AddTimed(&timed);
  thread.Start();
  // It has passed, so the turns come one after the other, although the clock stands still.
  EXPECT_GE(turns.WaitFor(5).size(), 5u);
  thread.Call([&] { timed.deadline = clock.Monotonic() + absl::Hours(1); });
  thread.Turn();
  const size_t before = turns.size();
  clock.Advance(absl::Hours(1));
  thread.Turn();
  EXPECT_GE(turns.WaitFor(before + 5).size(), before + 5);
  thread.Stop();
}

}  // namespace
}  // namespace postrider
