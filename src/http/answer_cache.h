#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "src/http/address_policy.h"

namespace postrider {

// What DNS said of hosts, for as long as it holds. Bounded: the host that was not used for longest
// goes first. Not thread-safe; times are Clock::Monotonic.
//
// A failure is kept for `min_ttl`, and for twice as long each time that it comes again, up to
// `max_failure_ttl`: so a name that stays dead is not asked with each delivery, and one that was
// just mended is soon seen.
class AnswerCache {
 public:
  using Answer = absl::StatusOr<std::vector<IpAddress>>;

  AnswerCache(absl::Duration min_ttl, absl::Duration max_ttl, absl::Duration max_failure_ttl,
              size_t max_hosts)
      : min_ttl_(min_ttl),
        max_ttl_(max_ttl),
        max_failure_ttl_(max_failure_ttl),
        max_hosts_(max_hosts) {}

  // Null when there is none that holds. Valid until the next call.
  const Answer* Find(const std::string& host, absl::Duration now);
  // `ttl` counts for a success only. Returns what the entry is called.
  uint64_t Keep(const std::string& host, Answer answer, absl::Duration ttl, absl::Duration now);
  // Replaces the entry, unless there has been another one since.
  void Amend(const std::string& host, uint64_t entry, Answer answer, absl::Duration ttl,
             absl::Duration now);
  void ForgetFailures();

 private:
  struct Entry {
    std::string host;
    Answer answer;
    absl::Duration until;
    // In a row.
    int failures = 0;
    uint64_t name = 0;
  };

  const absl::Duration min_ttl_;
  const absl::Duration max_ttl_;
  const absl::Duration max_failure_ttl_;
  const size_t max_hosts_;
  uint64_t last_name_ = 0;
  // The most recently used first. What does not hold any more stays as well: it tells how often it
  // has failed.
  std::list<Entry> entries_;
  absl::flat_hash_map<std::string, std::list<Entry>::iterator> by_host_;
};

}  // namespace postrider
