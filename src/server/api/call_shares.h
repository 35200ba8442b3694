#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/container/node_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/base/metrics.h"
#include "src/base/mutex.h"

namespace postrider {

// What calls under way may hold, shared by tenant and by peer: their number, the bytes of their
// requests, and those of their answers, until these are on the wire.
//
// Who wants some gets it as long as what he has is at most kGreed times of what is left: one who is
// alone may have almost all of it, two who want all share it evenly, and there is always something
// left for one who comes anew, without anybody knowing beforehand who will come. A peer may be a
// gateway that many tenants come through, so it may have more than a tenant.
//
// How large the answer of a read is shows when it is there: if it is larger than was asked for and
// does not fit, it is not sent. Else those who read much would lock out who publishes.
//
// Thread-safe. The shares must not outlive it.
class CallShares {
 public:
  static constexpr int64_t kTenantGreed = 8;
  static constexpr int64_t kPeerGreed = 64;

  struct Amount {
    int64_t calls = 0;
    int64_t request_bytes = 0;
    int64_t answer_bytes = 0;
  };

  struct Metrics {
    Gauge calls;
    Gauge request_bytes;
    Gauge answer_bytes;
  };

  // What is done with an answer that is larger than was asked for, and finds no room.
  enum class Excess { kRefused, kCounted };

  // One call's. Gives back what it has when it goes.
  class Share {
   public:
    Share() = default;
    Share(Share&& other) noexcept { *this = std::move(other); }
    Share& operator=(Share&& other) noexcept;
    ~Share();

    // The request is done with, and this is how large its answer is. RESOURCE_EXHAUSTED when there
    // is no room for that: then nothing is counted, and the answer shall not be sent.
    absl::Status Answered(int64_t answer_bytes);

   private:
    friend class CallShares;

    CallShares* shares_ = nullptr;
    // Entries of the maps, by which they are found again.
    std::pair<const std::string, Amount>* tenant_ = nullptr;
    std::pair<const std::string, Amount>* peer_ = nullptr;
    Amount amount_;
    Excess excess_ = Excess::kCounted;
  };

  explicit CallShares(const Amount& limits) : limits_(limits) {}
  CallShares(const CallShares&) = delete;
  CallShares& operator=(const CallShares&) = delete;

  // RESOURCE_EXHAUSTED, with a reason, when it is too much for all, the tenant or the peer.
  // `answer_bytes`: what the answer may come to; 0 for a call that is not to be refused for that.
  absl::StatusOr<Share> Take(std::string_view tenant, std::string_view peer, int64_t request_bytes,
                             int64_t answer_bytes, Excess excess);

  const Metrics& metrics() const { return metrics_; }

 private:
  // Their addresses stay. Those that hold nothing are kept, up to a number: most come again.
  using Holders = absl::node_hash_map<std::string, Amount>;
  using Holder = Holders::value_type;

  static Holder* HolderOf(std::string_view name, Holders* holders);
  static void Drop(Holder* holder, Holders* holders);
  // OK when the share's holders may have that much more.
  absl::Status Fit(const Share& share, const Amount& wanted) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Why it would be too much, or null.
  const char* WhyNot(const Amount& held, const Amount& wanted, int64_t greed) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Change(Share* share, const Amount& by) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Amount limits_;
  Metrics metrics_;

  Mutex mutex_;
  Amount total_ ABSL_GUARDED_BY(mutex_);
  Holders tenants_ ABSL_GUARDED_BY(mutex_);
  Holders peers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postrider
