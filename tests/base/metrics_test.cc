#include "src/base/metrics.h"

#include <cmath>
#include <limits>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace postrider {
namespace {

TEST(CounterTest, CountsOfManyThreads) {
  Counter counter;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 1000; ++j) counter.Add();
    });
  }
  for (auto& thread : threads) thread.join();
  counter.Add(5);
  EXPECT_EQ(counter.value(), 4005u);
}

TEST(GaugeTest, GoesUpAndDown) {
  Gauge gauge;
  gauge.Set(3);
  gauge.Add(-5);
  EXPECT_EQ(gauge.value(), -2);
}

TEST(DurationHistogramTest, BoundsDouble) {
  EXPECT_DOUBLE_EQ(DurationHistogram::BoundSeconds(0), 100e-6);
  EXPECT_DOUBLE_EQ(DurationHistogram::BoundSeconds(1), 200e-6);
  EXPECT_NEAR(DurationHistogram::BoundSeconds(DurationHistogram::kBounds - 1), 52.4, 0.05);
}

TEST(DurationHistogramTest, ABoundIsInItsBucket) {
  DurationHistogram histogram;
  histogram.Observe(0);
  histogram.Observe(DurationHistogram::BoundSeconds(0));
  histogram.Observe(std::nextafter(DurationHistogram::BoundSeconds(0), 1));
  histogram.Observe(DurationHistogram::BoundSeconds(DurationHistogram::kBounds - 1));
  histogram.Observe(60);
  EXPECT_EQ(histogram.bucket(0), 2u);
  EXPECT_EQ(histogram.bucket(1), 1u);
  EXPECT_EQ(histogram.bucket(DurationHistogram::kBounds - 1), 1u);
  EXPECT_EQ(histogram.bucket(DurationHistogram::kBounds), 1u);
  EXPECT_NEAR(histogram.sum_seconds(), 60 + 52.4288 + 200e-6, 1e-5);
}

TEST(DurationHistogramTest, TakesWhatIsNoDuration) {
  DurationHistogram histogram;
  histogram.Observe(-1);
  histogram.Observe(std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(histogram.bucket(0), 2u);
  EXPECT_EQ(histogram.sum_seconds(), 0);
  histogram.Observe(std::numeric_limits<double>::infinity());
  EXPECT_EQ(histogram.bucket(DurationHistogram::kBounds), 1u);
  EXPECT_EQ(histogram.sum_seconds(), 1e9);
}

}  // namespace
}  // namespace postrider
