#pragma once

#include <curl/curl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "src/http/address_policy.h"
#include "src/http/target_addresses.h"
#include "src/http/transport.h"

namespace postrider {

struct CurlUrlDeleter {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};

// As libcurl takes a header. It takes "Name:" with nothing but blanks for "do not send it", and
// "Name;" for "send it empty".
void SetHeaderLine(const std::string& name, const std::string& value, std::string* line);

// What libcurl needs to know of a target, made once for it.
struct CurlTarget {
  explicit CurlTarget(std::shared_ptr<const HttpTarget> target);

  // Holds the strings that the nodes point to.
  const std::shared_ptr<const HttpTarget> target;
  // Its URL, taken apart once; libcurl would do it for every request.
  std::unique_ptr<CURLU, CurlUrlDeleter> url;
  // Without brackets. Empty when the URL has none.
  std::string host;
  std::string host_and_port;
  size_t host_hash = 0;
  bool https = false;
  // The static headers as a list; the last node ends it. Null without any.
  curl_slist* headers = nullptr;
  // What a request has of it at least: URL, Host and headers.
  size_t bytes = 0;
  // Which of libcurl's own headers must be suppressed because nobody asked for them.
  bool gives_content_type = false;
  bool gives_accept = false;

  uint16_t port = 0;
  // Where requests may go; null before it is known.
  std::shared_ptr<const AddressList> addresses;
  // Which of them answered last.
  IpAddress preferred;
  // Until when `addresses` hold (Clock::Monotonic).
  absl::Duration addresses_until = -absl::InfiniteDuration();

 private:
  std::vector<std::string> lines_;
  std::vector<curl_slist> nodes_;
};

}  // namespace postrider
