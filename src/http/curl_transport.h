#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "src/base/clock.h"
#include "src/base/metrics.h"
#include "src/http/address_policy.h"
#include "src/http/event_loop.h"
#include "src/http/resolver.h"
#include "src/http/transport.h"

namespace postrider {

struct CurlTransportOptions {
  absl::Duration connect_timeout = absl::Seconds(5);
  // Connections that a multi handle keeps when they are idle. The receivers are divided among eight
  // handles, one receiver has its connections in one of them, and libcurl counts those in use as
  // well: so there must be room for the most requests that one webhook may have under way (1,024),
  // or each that ends would close a connection and the next open one.
  size_t max_kept_connections = 1280;
  // No socket gets a number from here on: the descriptors beyond are for others, who may not have
  // taken them yet. Asked for each new socket; empty: no bound but the system's. As when there are
  // none left, the request has failed for want of our own resources then.
  std::function<int()> descriptor_ceiling;
  // A PEM file of certificate authorities to trust instead of the system's; empty: the system's.
  std::string ca_file;
};

struct TransportMetrics {
  Counter connections_opened;
  Counter connections_reused;
  // Requests sent once more because the reused connection was dead, or something had come over it
  // that nobody had asked for.
  Counter stale_resends;
  // Connections given up because something came that nobody had asked for.
  Counter unasked;
  // Connections to another address than the first, since that one was not connected in time.
  Counter address_fallbacks;
  Counter blocked;
  Counter resolve_failures;
};

// The transport of production: libcurl's multi interface, driven by the loop's epoll.
//
// A host is resolved and its addresses are judged before libcurl hears of the request, which is
// then pinned to an address that passed. The policy judges again when a socket is opened, and
// before each request on whatever connection it goes over, so that no path of libcurl's own leads
// around it. Of a host with several addresses the next is tried when one is not connected within
// 250 ms (ConnectRace); what could not be connected to comes last for ten minutes.
//
// Everything belongs to the loop's thread. Loop, clock, resolver and metrics must outlive it.
std::unique_ptr<Transport> MakeCurlTransport(const CurlTransportOptions& options,
                                             const Clock& clock, EventLoop& loop,
                                             Resolver& resolver, AddressPolicy policy,
                                             TransportMetrics& metrics);

}  // namespace postrider
