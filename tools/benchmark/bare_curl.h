#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace postrider::bench {

struct BareCurlResult {
  int window = 0;
  double requests_per_second = 0;
  double cpu_us_per_request = 0;
};

// libcurl alone: one thread, one multi on epoll and curl_multi_socket_action, keep-alive HTTP/1.1,
// with the requests that Postrider sends. Everything that can be set once is: each handle has its
// URL, its header list and its body for good. `window` requests are under way, to the URLs in turn.
BareCurlResult RunBareCurl(const std::vector<std::string>& urls, int window, int64_t requests);

// The window of the sweep that sends the most.
int FindBestWindow(const std::vector<std::string>& urls, int64_t requests);

// Sends one request at each of the times on one connection; the round trips in nanoseconds, sorted.
std::vector<int64_t> BareHttpRoundTrips(const std::string& url,
                                        const std::vector<int64_t>& times_ns);

}  // namespace postrider::bench
