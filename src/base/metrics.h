#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace postrider {

// Plain figures that the layers count with. They know nothing of the exporter: the server reads
// them and puts them into its format. Thread-safe; relaxed, since no figure orders another.

class Counter {
 public:
  void Add(uint64_t amount = 1) { value_.fetch_add(amount, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

class Gauge {
 public:
  void Set(int64_t value) { value_.store(value, std::memory_order_relaxed); }
  void Add(int64_t amount) { value_.fetch_add(amount, std::memory_order_relaxed); }
  int64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

// Counts of durations in buckets that double from 100 µs: the last finite bound is 52.4 s.
class DurationHistogram {
 public:
  static constexpr size_t kBounds = 20;
  static constexpr double BoundSeconds(size_t i) {
    return 100e-6 * static_cast<double>(uint64_t{1} << i);
  }

  // What is negative or no number counts as 0, what is longer than 30 years as 30 years.
  void Observe(double seconds) {
    seconds = seconds > 0 ? std::min(seconds, 1e9) : 0;
    size_t i = 0;
    while (i < kBounds && seconds > BoundSeconds(i)) ++i;
    buckets_[i].fetch_add(1, std::memory_order_relaxed);
    sum_micros_.fetch_add(static_cast<uint64_t>(seconds * 1e6), std::memory_order_relaxed);
  }

  // Not cumulative; the last one counts what is beyond the last bound.
  uint64_t bucket(size_t i) const { return buckets_[i].load(std::memory_order_relaxed); }
  double sum_seconds() const {
    return static_cast<double>(sum_micros_.load(std::memory_order_relaxed)) / 1e6;
  }

 private:
  std::array<std::atomic<uint64_t>, kBounds + 1> buckets_{};
  std::atomic<uint64_t> sum_micros_{0};
};

}  // namespace postrider
