#pragma once

#include <cstddef>
#include <cstdint>
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
  // Of one lookup, once it has its turn; and how long it waits for that.
  absl::Duration timeout = absl::Seconds(5);
  // A name is asked for A and AAAA apart. When one has come, the other is waited for no longer than
  // this (RFC 8305, section 3): there are name servers that never answer one of them.
  absl::Duration second_family_wait = absl::Milliseconds(50);
  // Answers are kept for as long as DNS says, within these bounds; failures from `min_ttl` up to
  // `max_failure_ttl`, the longer the more often they came.
  absl::Duration min_ttl = absl::Seconds(1);
  absl::Duration max_ttl = absl::Seconds(60);
  absl::Duration max_failure_ttl = absl::Seconds(30);
  size_t max_cached_hosts = 10'000;
  // Looked at again, with the hosts file, at most once in `config_check_period`, when a name is to
  // be asked.
  std::string resolv_conf = "/etc/resolv.conf";
  std::string hosts_file = "/etc/hosts";
  absl::Duration config_check_period = absl::Seconds(1);
  // Name servers to ask, "ADDRESS:PORT,..."; empty: the machine's.
  std::string servers;
  // Of the machine's name servers; 0: DNS's own.
  uint16_t port = 0;
};

struct ResolverMetrics {
  Counter lookups;
  Counter cache_hits;
  Counter failures;
  // Lookups that could not be had: too many wait, or one waited too long for its turn.
  Counter refused;
  // How often the name servers were read again.
  Counter reloads;
};

// Turns host names into addresses with c-ares, in the loop of one thread: a slow name server delays
// only those who ask for its names. Knows the hosts file. Does not judge the addresses.
//
// At most 1,024 lookups are under way, and 4,096 wait for their turn; both are shared by those who
// ask (FairTurns), so that nobody's dead names keep others from asking. 2,048 more, whose answer
// has been told, may still wait for the other family; their answer comes into the cache.
//
// Owned and called by the loop's thread.
class Resolver {
 public:
  // At least one address and at most 48, in the order to try them: the families take turns, and the
  // one that there is a route to comes first. Or a sentence that says what to do: NOT_FOUND (no
  // such host, or it has no address), DEADLINE_EXCEEDED, UNAVAILABLE (the name servers failed, or
  // cannot be reached), RESOURCE_EXHAUSTED (it could not be asked, for a want of our own: no fault
  // of the host's).
  using Answer = absl::StatusOr<std::vector<IpAddress>>;
  using Done = absl::AnyInvocable<void(const Answer&) &&>;

  virtual ~Resolver() = default;

  // The answer, when it is known without asking: a literal address (odd spellings such as 0x7f.1
  // and 2130706433 are what inet_aton makes of them; IPv6 without brackets), or a name that is in
  // the cache, a failure that is remembered included. Null otherwise. Valid until the next call.
  virtual const Answer* Lookup(const std::string& host) = 0;

  // Asks, also when a failure is remembered. `share`: on whose behalf. `done` is called once, on
  // the loop's thread, never inside the call; not at all when the resolver is destroyed before.
  virtual void Resolve(const std::string& host, uint64_t share, Done done) = 0;

  // Whether a lookup of the host waits for its turn, so that no name server was asked yet.
  virtual bool WaitsForTurn(const std::string& host) const = 0;

  // Reads the name servers again, forgets failures, and asks anew what has no answer yet. Done by
  // itself when resolv.conf or the hosts file has changed.
  virtual void Reload() = 0;
};

// The loop, clock and metrics must outlive the resolver. REQUIRES: before loop.Run.
absl::StatusOr<std::unique_ptr<Resolver>> MakeAresResolver(const ResolverOptions& options,
                                                           const Clock& clock, EventLoop& loop,
                                                           ResolverMetrics& metrics);

}  // namespace postrider
