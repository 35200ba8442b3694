#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "src/base/metrics.h"
#include "src/http/address_policy.h"
#include "src/http/event_loop.h"

namespace postrider {

struct ResolverOptions {
  // Of one lookup in all.
  absl::Duration timeout = absl::Seconds(5);
  // Answers are kept for as long as DNS says, within these bounds; failures for `min_ttl`.
  absl::Duration min_ttl = absl::Seconds(1);
  absl::Duration max_ttl = absl::Seconds(60);
  size_t max_cached_hosts = 10'000;
  // Name servers to ask, "ADDRESS:PORT,..."; empty: the machine's.
  std::string servers;
};

struct ResolverMetrics {
  Counter lookups;
  Counter cache_hits;
  Counter failures;
};

// Turns host names into addresses with c-ares, in the loop of one thread: a slow name server delays
// only those who ask for its names. Knows /etc/hosts. Does not judge the addresses.
//
// Owned and called by the loop's thread.
class Resolver {
 public:
  // At least one address, in the order to try them; or a sentence that says what to do: NOT_FOUND
  // (no such host, or it has no address), DEADLINE_EXCEEDED, UNAVAILABLE (the name server failed).
  using Answer = absl::StatusOr<std::vector<IpAddress>>;
  using Done = absl::AnyInvocable<void(const Answer&) &&>;

  virtual ~Resolver() = default;

  // The answer, when it is known without asking: a literal address (odd spellings such as 0x7f.1
  // and 2130706433 are what inet_aton makes of them; IPv6 without brackets), or a name that is in
  // the cache. Null otherwise. Valid until the next call.
  virtual const Answer* Lookup(const std::string& host) = 0;

  // Asks. `done` is called once, on the loop's thread, never inside the call; not at all when the
  // resolver is destroyed before.
  virtual void Resolve(const std::string& host, Done done) = 0;
};

// The loop, clock and metrics must outlive the resolver. REQUIRES: before loop.Run.
absl::StatusOr<std::unique_ptr<Resolver>> MakeAresResolver(const ResolverOptions& options,
                                                           const Clock& clock, EventLoop& loop,
                                                           ResolverMetrics& metrics);

}  // namespace postrider
