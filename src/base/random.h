#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace postrider {

// A source of random bits. What needs randomness takes one from outside, so that a test decides.
//
// Not thread-safe unless the implementation says so.
class Random {
 public:
  virtual ~Random() = default;

  virtual uint64_t Next() = 0;

  // Uniform in [0, 1), with 53 bits.
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }

  // `size` random bytes.
  std::string Bytes(size_t size);
};

// Reads the kernel's generator (getrandom(2)): fit for secrets, too slow for the hot path.
// Thread-safe.
class SecureRandom final : public Random {
 public:
  uint64_t Next() override;
};

// A fast generator for jitter, never for secrets (SplitMix64: Steele, Lea and Flood, "Fast
// splittable pseudorandom number generators", OOPSLA 2014). The same seed gives the same sequence.
class SeededRandom final : public Random {
 public:
  explicit SeededRandom(uint64_t seed) : state_(seed) {}
  uint64_t Next() override;

 private:
  uint64_t state_;
};

}  // namespace postrider
