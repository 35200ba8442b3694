#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "src/http/address_policy.h"

namespace postrider {

// One that the policy has passed.
struct TargetAddress {
  IpAddress ip;
  // As CURLOPT_CONNECT_TO takes it; empty when the URL's host is the address itself.
  std::string connect_to;

  bool operator==(const TargetAddress&) const = default;
};

// In the order to try them; at least one, at most kMaxTargetAddresses.
using AddressList = std::vector<TargetAddress>;
constexpr size_t kMaxTargetAddresses = 16;

// Those of a host's addresses that pass; or why the first does not, when none does.
absl::StatusOr<AddressList> PassedAddresses(const AddressPolicy& policy,
                                            const std::vector<IpAddress>& addresses,
                                            const std::string& host);

// Addresses and ports that could not be connected to lately, so that the next attempt begins with
// another one. They only come last: none is left out. Bounded in time and number; the oldest goes
// first. Times are Clock::Monotonic. Not thread-safe.
class DeadAddresses {
 public:
  static constexpr absl::Duration kKept = absl::Minutes(10);
  static constexpr size_t kMax = 4096;

  void Add(const IpAddress& ip, uint16_t port, absl::Duration now);
  // It was connected to.
  void Remove(const IpAddress& ip, uint16_t port);
  bool Contains(const IpAddress& ip, uint16_t port, absl::Duration now) const;
  bool empty() const { return failed_.empty(); }

 private:
  using Key = std::pair<IpAddress, uint16_t>;

  // With the time of the failure; the newest last.
  std::list<std::pair<Key, absl::Duration>> failed_;
  absl::flat_hash_map<Key, decltype(failed_)::iterator> by_key_;
};

}  // namespace postrider
