#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "src/http/address_policy.h"

namespace postrider {

// What became of a question to DNS. Of two failures the later one here says more: see Worse.
enum class DnsCode {
  kOk,
  kBadName,       // longer than a name may be, or an empty label
  kNoName,        // NXDOMAIN
  kNoAddress,     // the name is there, but has no address
  kBadAnswer,     // not understood
  kRefused,       // REFUSED
  kServerFailed,  // SERVFAIL
  kTimeout,
  kNoServer,     // no name server can be reached at all
  kNoResources,  // of this process: descriptors or memory
};

struct DnsReply {
  DnsCode code = DnsCode::kNoAddress;
  // With kOk at least one, in the order of the name server.
  std::vector<IpAddress> addresses;
  absl::Duration ttl;
};

// Which of two failures is told.
inline DnsCode Worse(DnsCode one, DnsCode other) { return one < other ? other : one; }

// A sentence that says what to do: NOT_FOUND, DEADLINE_EXCEEDED, UNAVAILABLE, RESOURCE_EXHAUSTED.
// REQUIRES: not kOk.
absl::Status ExplainDns(DnsCode code, const std::string& host);

// Families take turns, so that one that does not work costs one attempt before the other is tried
// (RFC 8305, section 4).
std::vector<IpAddress> TakeTurns(const std::vector<IpAddress>& first,
                                 const std::vector<IpAddress>& second);

// The families in turn; the one that there is no route to comes second (RFC 6724, rule 1).
std::vector<IpAddress> InOrder(const std::vector<IpAddress>& addresses);

// Whether this process can open a socket now.
bool CanOpenSocket();

}  // namespace postrider
