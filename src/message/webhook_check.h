#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "src/outbox/types.h"

// What may be configured of the request that a webhook gets: its URL and its headers.

namespace postrider {

inline constexpr size_t kMaxUrlBytes = 2048;
inline constexpr size_t kMaxHeaders = 64;
// Of all names and values together.
inline constexpr size_t kMaxHeaderBytes = 16 * 1024;

struct ParsedUrl {
  // http or https, in lower case.
  std::string scheme;
  // As written, without the brackets of an IPv6 address.
  std::string host;
  // The scheme's own where none is written.
  uint16_t port = 0;
  // From the path on; empty when there is nothing.
  std::string target;
};

// Takes an absolute http or https URL apart. INVALID_ARGUMENT with what is wrong when it is none,
// or has what a webhook's URL must not have: user information, a fragment, a space, a backslash, a
// control character, a byte beyond ASCII, or an address in a spelling that readers disagree on
// (127.1, 0x7f000001).
absl::StatusOr<ParsedUrl> ParseUrl(std::string_view url);

// The URL as it is sent, stored and shown: a host beyond ASCII in Punycode (UTS 46,
// non-transitional: a sharp s is not "ss"), all else as it is. INVALID_ARGUMENT when the host has
// no such form; other faults are left to ParseUrl.
absl::StatusOr<std::string> UrlAsSent(const std::string& url);

// The value without the blanks and tabs around it, which are no part of it (RFC 9110, 5.5).
std::string_view TrimHeaderValue(std::string_view value);

// A field that is not as it must be. `field` is the path inside the webhook, such as "url" or
// "headers[3].name"; `description` continues it as a sentence does: "must be absolute".
struct WebhookFault {
  std::string field;
  std::string description;

  bool operator==(const WebhookFault&) const = default;
};

// All faults of a webhook's URL and additional headers, in their order. The descriptions never show
// a header's value.
std::vector<WebhookFault> CheckWebhookRequest(const std::string& url,
                                              const std::vector<Header>& headers);

// A header that Postrider sets itself, so that nobody else can: Host, Content-Length,
// Transfer-Encoding, Connection, Expect and webhook-*.
bool IsReservedHeader(std::string_view name);

}  // namespace postrider
