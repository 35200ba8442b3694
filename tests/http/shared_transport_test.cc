#include "src/http/shared_transport.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/fake_transport.h"
#include "tests/support/manual_executor.h"

namespace postrider {
namespace {

// As many as go by the caller's own thread in any case.
constexpr int kFew = 8;

// A thread with its transport, but without the thread.
struct Party {
  ManualExecutor home;
  FakeTransport own;
  Counter handed_over;
  float busy = 1;
  SharedTransport shared{home, [this] { return busy; }, own, handed_over};

  void Turn() {
    home.RunAll();
    shared.OnTurn();
  }
};

// The first one has no time, the others have.
class SharedTransportTest : public testing::Test {
 protected:
  struct Result {
    std::optional<TransferResult> is;
  };

  explicit SharedTransportTest(int parties = 2) {
    std::vector<SharedTransport*> all;
    for (int i = 0; i < parties; ++i) {
      parties_.push_back(std::make_unique<Party>());
      if (i > 0) parties_.back()->busy = 0.5F;
      all.push_back(&parties_.back()->shared);
    }
    SharedTransport::Connect(all);
  }

  ~SharedTransportTest() override {
    // Who is helped first: its helpers' answers are void then.
    for (const auto& each : parties_) each->shared.CancelAll();
  }

  Party& party(int i) { return *parties_[static_cast<size_t>(i)]; }

  static std::shared_ptr<const HttpTarget> NewTarget(int number = 0) {
    return std::make_shared<const HttpTarget>(
        HttpTarget{"http://receiver/" + std::to_string(number), {}});
  }

  // The party's next request; its number is its body.
  Result* Send(Party& from, const std::shared_ptr<const HttpTarget>& target) {
    TransferRequest request;
    request.target = target;
    request.body = std::make_shared<const std::string>(std::to_string(results_.size()));
    results_.push_back(std::make_unique<Result>());
    Result* const result = results_.back().get();
    from.shared.Send(std::move(request), [result](TransferResult is) {
      EXPECT_FALSE(result->is.has_value()) << "told twice";
      result->is = std::move(is);
    });
    return result;
  }

  std::vector<Result*> SendMany(Party& from, const std::shared_ptr<const HttpTarget>& target,
                                int count) {
    std::vector<Result*> results;
    results.reserve(static_cast<size_t>(count));
    for (int i = 0; i < count; ++i) results.push_back(Send(from, target));
    return results;
  }

  std::vector<std::unique_ptr<Party>> parties_;
  std::vector<std::unique_ptr<Result>> results_;
};

class ThreeTransportsTest : public SharedTransportTest {
 protected:
  ThreeTransportsTest() : SharedTransportTest(3) {}
};

class OneTransportTest : public SharedTransportTest {
 protected:
  OneTransportTest() : SharedTransportTest(1) {}
};

TEST_F(OneTransportTest, SendsAllItself) {
  const auto results = SendMany(party(0), NewTarget(), 100);
  EXPECT_EQ(party(0).own.sent(), 100u);
  party(0).own.SucceedAll(201);
  for (const Result* result : results) {
    ASSERT_TRUE(result->is.has_value());
    EXPECT_EQ(result->is->http_status, 201);
  }
}

TEST_F(SharedTransportTest, AFewGoByTheCallersThread) {
  for (int i = 0; i < 10; ++i) SendMany(party(0), NewTarget(), kFew);
  party(0).Turn();
  party(1).Turn();
  EXPECT_EQ(party(0).own.sent(), 10u * kFew);
  EXPECT_EQ(party(1).own.sent(), 0u);
  EXPECT_EQ(party(0).handed_over.value(), 0u);
}

TEST_F(SharedTransportTest, OfManyTheHelperSendsHalf) {
  const auto target = NewTarget();
  SendMany(party(0), target, 100);
  party(0).Turn();
  party(1).Turn();
  EXPECT_EQ(party(0).own.sent(), 50u);
  EXPECT_EQ(party(1).own.sent(), 50u);
  EXPECT_EQ(party(0).handed_over.value(), 50u);

  // Whoever answers sooner gets more, but what was handed over counts from the first.
  for (int i = 0; i < 3; ++i) {
    party(0).own.SucceedAll();
    SendMany(party(0), target, 50);
    party(0).Turn();
  }
  EXPECT_EQ(party(0).handed_over.value(), 50u);
  party(1).own.SucceedAll();
  party(1).Turn();
  party(0).Turn();
  SendMany(party(0), target, 50);
  EXPECT_EQ(party(0).handed_over.value(), 100u);
}

TEST_F(SharedTransportTest, AThreadWithTimeSendsItself) {
  party(0).busy = 0.74F;
  party(1).busy = 0;
  SendMany(party(0), NewTarget(), 10 * kFew);
  EXPECT_EQ(party(0).handed_over.value(), 0u);
}

TEST_F(SharedTransportTest, AHelperWithoutMoreTimeIsNotAsked) {
  party(1).busy = 1;
  const auto target = NewTarget();
  SendMany(party(0), target, 10 * kFew);
  EXPECT_EQ(party(0).handed_over.value(), 0u);
  // Each decision is made anew.
  party(1).busy = 0.9F;
  SendMany(party(0), target, 2);
  EXPECT_EQ(party(0).handed_over.value(), 2u);
}

TEST_F(SharedTransportTest, WhatCameOfItIsToldOnTheCallersThread) {
  const auto results = SendMany(party(0), NewTarget(), 2 * kFew);
  EXPECT_EQ(party(1).home.size(), 0u) << "handed over before the turn's end";
  party(0).Turn();
  EXPECT_EQ(party(1).home.size(), 1u);
  party(1).Turn();
  const size_t lent = party(1).own.sent();
  ASSERT_GT(lent, 0u);
  for (size_t i = 0; i < lent; ++i) {
    TransferResult result;
    result.http_status = 200;
    result.body = *party(1).own.request(i).body;
    party(1).own.Answer(i, std::move(result));
  }
  EXPECT_TRUE(party(0).home.empty()) << "given back before the turn's end";
  party(1).Turn();
  // All in one closure.
  EXPECT_EQ(party(0).home.size(), 1u);
  for (const Result* result : results) EXPECT_FALSE(result->is.has_value());
  party(0).Turn();
  size_t told = 0;
  for (size_t i = 0; i < results.size(); ++i) {
    if (!results[i]->is.has_value()) continue;
    ++told;
    EXPECT_EQ(results[i]->is->body, std::to_string(i));
  }
  EXPECT_EQ(told, lent);

  // And only once.
  party(0).Turn();
  EXPECT_TRUE(party(1).home.empty());
  party(1).Turn();
  EXPECT_TRUE(party(0).home.empty());
}

TEST_F(SharedTransportTest, WhenAllHasEndedItIsFewAgain) {
  const auto target = NewTarget();
  for (int round = 0; round < 3; ++round) {
    SendMany(party(0), target, 20);
    party(0).Turn();
    party(1).Turn();
    const uint64_t lent = party(0).handed_over.value();
    EXPECT_GT(lent, 0u);
    party(0).own.SucceedAll();
    party(1).own.SucceedAll();
    party(1).Turn();
    party(0).Turn();
    SendMany(party(0), target, kFew);
    EXPECT_EQ(party(0).handed_over.value(), lent);
    party(0).own.SucceedAll();
  }
  for (const auto& result : results_) EXPECT_TRUE(result->is.has_value());
}

TEST_F(ThreeTransportsTest, AUrlsHelperIsAlwaysTheSame) {
  std::set<size_t> helpers;
  for (int i = 0; i < 40; ++i) {
    const size_t before[] = {party(1).own.sent(), party(2).own.sent()};
    for (int round = 0; round < 3; ++round) {
      // As when its webhook was configured anew, but for the URL.
      const auto target = NewTarget(i);
      SendMany(party(0), target, 40);
      for (int p = 0; p < 3; ++p) party(p).Turn();
      for (int p = 0; p < 3; ++p) party(p).own.SucceedAll();
      for (int p : {1, 2, 0}) party(p).Turn();
    }
    const bool first = party(1).own.sent() > before[0];
    EXPECT_NE(first, party(2).own.sent() > before[1]);
    helpers.insert(first ? 1 : 2);
  }
  EXPECT_EQ(helpers.size(), 2u) << "one of two helpers is never asked";
}

TEST_F(SharedTransportTest, CancelAllEndsAllAtOnceAndWhatComesLaterIsDropped) {
  const auto target = NewTarget();
  auto results = SendMany(party(0), target, 20);
  party(0).Turn();
  party(1).Turn();
  const size_t lent = party(1).own.sent();
  ASSERT_GT(lent, 0u);
  // These are not handed over yet.
  for (Result* result : SendMany(party(0), target, 20)) results.push_back(result);
  const uint64_t cancelled = party(0).handed_over.value();
  ASSERT_GT(cancelled, lent);
  party(0).shared.CancelAll();
  for (const Result* result : results) {
    ASSERT_TRUE(result->is.has_value());
    EXPECT_EQ(result->is->error, TransferError::kCancelled);
  }
  party(0).Turn();
  EXPECT_TRUE(party(1).home.empty());
  party(1).Turn();
  EXPECT_EQ(party(1).own.sent(), lent) << "sent though it was cancelled";

  // The slots are used again: an old answer must not be taken for a new request's.
  const auto later = SendMany(party(0), target, 100);
  party(1).own.SucceedAll(299);
  party(1).Turn();
  party(0).Turn();
  for (const Result* result : later) EXPECT_FALSE(result->is.has_value());
  EXPECT_GT(party(0).handed_over.value(), cancelled);
  party(1).Turn();
  party(0).own.SucceedAll();
  party(1).own.SucceedAll();
  party(1).Turn();
  party(0).Turn();
  for (const Result* result : later) {
    ASSERT_TRUE(result->is.has_value());
    EXPECT_EQ(result->is->http_status, 200);
  }
}

TEST_F(SharedTransportTest, AHelperThatStopsCancelsWhatItWasGivenAndWhatComesLater) {
  const auto target = NewTarget();
  const auto is_cancelled = [](const Result* result) {
    return result->is.has_value() && result->is->error == TransferError::kCancelled;
  };
  const auto results = SendMany(party(0), target, 20);
  party(0).Turn();
  party(1).Turn();
  const size_t lent = party(1).own.sent();
  ASSERT_GT(lent, 0u);
  const auto later = SendMany(party(0), target, 20);
  party(0).Turn();
  party(1).shared.Stop();
  party(1).Turn();
  party(0).Turn();
  EXPECT_EQ(party(1).own.sent(), lent) << "sent by one that has stopped";
  EXPECT_EQ(party(0).handed_over.value(), 20u);
  EXPECT_EQ(std::count_if(results.begin(), results.end(), is_cancelled), 10);
  EXPECT_EQ(std::count_if(later.begin(), later.end(), is_cancelled), 10);

  // A loop that has ended says nothing any more.
  SendMany(party(0), target, 20);
  party(1).home.Stop();
  party(0).Turn();
  party(0).shared.CancelAll();
  EXPECT_TRUE(std::all_of(results_.begin(), results_.end(),
                          [](const auto& result) { return result->is.has_value(); }));
}

TEST_F(SharedTransportTest, EachMayHelpTheOther) {
  const auto target = NewTarget();
  SendMany(party(0), target, 40);
  party(0).Turn();
  party(0).busy = 0.5F;
  party(1).busy = 1;
  SendMany(party(1), target, 40);
  party(1).Turn();
  party(0).Turn();
  EXPECT_EQ(party(0).own.sent(), 40u);
  EXPECT_EQ(party(1).own.sent(), 40u);
  for (int i : {0, 1}) party(i).own.SucceedAll();
  for (int i : {0, 1, 0}) party(i).Turn();
  for (const auto& result : results_) {
    ASSERT_TRUE(result->is.has_value());
    EXPECT_EQ(result->is->http_status, 200);
  }
}

TEST_F(SharedTransportTest, ACallbackMaySend) {
  const auto target = NewTarget();
  int told = 0;
  for (int i = 0; i < 30; ++i) {
    TransferRequest request;
    request.target = target;
    request.body = std::make_shared<const std::string>();
    party(0).shared.Send(std::move(request), [&](const TransferResult&) {
      ++told;
      Send(party(0), target);
    });
  }
  for (int round = 0; round < 3; ++round) {
    party(0).Turn();
    party(1).Turn();
    party(0).own.SucceedAll();
    party(1).own.SucceedAll();
    party(1).Turn();
    party(0).Turn();
  }
  EXPECT_EQ(told, 30);
  EXPECT_EQ(results_.size(), 30u);
  for (const auto& result : results_) EXPECT_TRUE(result->is.has_value());
}

}  // namespace
}  // namespace postrider
