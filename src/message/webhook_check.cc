#include "src/message/webhook_check.h"

#include <arpa/inet.h>
#include <idn2.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace postrider {
namespace {

absl::Status Bad(const char* what) { return absl::InvalidArgumentError(what); }

bool IsAlnum(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)); }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

std::string Lower(std::string_view text) { return absl::AsciiStrToLower(std::string(text)); }

bool IsIpv4(const std::string& text) {
  in_addr address;
  return inet_pton(AF_INET, text.c_str(), &address) == 1;
}

bool IsIpv6(const std::string& text) {
  in6_addr address;
  return inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

absl::Status CheckCharacters(std::string_view url) {
  for (const char c : url) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == ' ') return Bad("must have no spaces: write them as %20");
    if (byte < 0x20 || byte == 0x7f) return Bad("must have no control characters");
    if (byte >= 0x80) {
      return Bad("must be ASCII behind the host: percent-encode it");
    }
    if (byte == '\\') return Bad("must have no backslashes: write them as %5C");
    if (byte == '#') return Bad("must have no fragment (#): it is never sent");
  }
  return absl::OkStatus();
}

// A name, or an IPv4 address in the one spelling that all readers agree on.
absl::Status CheckHostName(const std::string& host) {
  if (host.empty()) return Bad("must have a host");
  if (host.size() > 253) return Bad("has a host of more than 253 characters");
  std::string_view rest = host;
  if (rest.back() == '.') rest.remove_suffix(1);
  std::string_view label;
  for (bool more = true; more;) {
    const size_t dot = rest.find('.');
    label = rest.substr(0, dot);
    more = dot != std::string_view::npos;
    if (more) rest.remove_prefix(dot + 1);
    if (label.empty()) return Bad("has a host with an empty label");
    if (label.size() > 63) return Bad("has a host with a label of more than 63 characters");
    if (!std::all_of(label.begin(), label.end(),
                     [](char c) { return IsAlnum(c) || c == '-' || c == '_'; })) {
      return Bad("has a host with characters other than letters, digits, '-', '_' and '.'");
    }
  }
  const bool numeric =
      std::all_of(label.begin(), label.end(), IsDigit) || Lower(label.substr(0, 2)) == "0x";
  if (numeric && !IsIpv4(host)) {
    return Bad("has a host that looks like an IPv4 address: write it as four decimal numbers");
  }
  return absl::OkStatus();
}

absl::Status ParsePort(std::string_view text, uint16_t* port) {
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, *port);
  if (text.empty() || parsed.ec != std::errc() || parsed.ptr != end || *port == 0) {
    return Bad("must have a port from 1 to 65535, or none");
  }
  return absl::OkStatus();
}

absl::Status ParseAuthority(std::string_view authority, ParsedUrl* url) {
  if (authority.find('@') != std::string_view::npos) {
    return Bad("must have no user information (user:password@): use an Authorization header");
  }
  std::string_view rest;
  if (!authority.empty() && authority[0] == '[') {
    const size_t close = authority.find(']');
    if (close == std::string_view::npos) return Bad("has an IPv6 address without its ']'");
    url->host = authority.substr(1, close - 1);
    if (!IsIpv6(url->host)) return Bad("has brackets without an IPv6 address in them");
    rest = authority.substr(close + 1);
    if (!rest.empty() && rest[0] != ':') return Bad("has characters after its IPv6 address");
  } else {
    const size_t colon = authority.find(':');
    url->host = authority.substr(0, colon);
    if (auto status = CheckHostName(url->host); !status.ok()) return status;
    if (colon != std::string_view::npos) rest = authority.substr(colon);
  }
  url->port = url->scheme == "https" ? 443 : 80;
  if (rest.empty()) return absl::OkStatus();
  return ParsePort(rest.substr(1), &url->port);
}

// RFC 9110, 5.6.2.
bool IsToken(std::string_view name) {
  constexpr std::string_view kPunctuation = "!#$%&'*+-.^_`|~";
  return !name.empty() && std::all_of(name.begin(), name.end(), [&](char c) {
    return IsAlnum(c) || kPunctuation.find(c) != std::string_view::npos;
  });
}

// RFC 9110, 5.5: text and tabs.
bool IsControl(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && byte != '\t') || byte == 0x7f;
}

}  // namespace

absl::StatusOr<std::string> UrlAsSent(const std::string& url) {
  const auto is_ascii = [](std::string_view text) {
    return std::none_of(text.begin(), text.end(),
                        [](char c) { return static_cast<unsigned char>(c) >= 0x80; });
  };
  const size_t scheme = url.find("://");
  if (url.size() > kMaxUrlBytes || scheme == std::string::npos) return url;
  const size_t begin = scheme + 3;
  const size_t end = std::min(url.find_first_of("/?#:", begin), url.size());
  const std::string host = url.substr(begin, end - begin);
  if (is_ascii(host)) return url;
  char* ascii = nullptr;
  const int code = idn2_to_ascii_8z(host.c_str(), &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
  const std::unique_ptr<char, decltype(&idn2_free)> owner(ascii, &idn2_free);
  if (code != IDN2_OK) {
    return absl::InvalidArgumentError(
        absl::StrCat("has a host that is no internationalised name (", idn2_strerror(code), ")"));
  }
  return absl::StrCat(url.substr(0, begin), ascii, url.substr(end));
}

std::string_view TrimHeaderValue(std::string_view value) {
  const size_t begin = std::min(value.find_first_not_of(" \t"), value.size());
  const size_t last = value.find_last_not_of(" \t");
  return last == std::string_view::npos ? "" : value.substr(begin, last + 1 - begin);
}

absl::StatusOr<ParsedUrl> ParseUrl(std::string_view url) {
  if (url.empty()) return Bad("is required");
  if (url.size() > kMaxUrlBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", url.size(), " bytes, at most ", kMaxUrlBytes, " are allowed"));
  }
  if (auto status = CheckCharacters(url); !status.ok()) return status;
  ParsedUrl parsed;
  const size_t colon = url.find("://");
  if (colon == std::string_view::npos) {
    return Bad("must be absolute: http:// or https://, a host, and a path");
  }
  parsed.scheme = Lower(url.substr(0, colon));
  if (parsed.scheme != "http" && parsed.scheme != "https") {
    return Bad("must begin with http:// or https://");
  }
  url.remove_prefix(colon + 3);
  const size_t end = std::min(url.find_first_of("/?"), url.size());
  if (auto status = ParseAuthority(url.substr(0, end), &parsed); !status.ok()) return status;
  parsed.target = url.substr(end);
  return parsed;
}

bool IsReservedHeader(std::string_view name) {
  const std::string lower = Lower(name);
  return lower == "host" || lower == "content-length" || lower == "transfer-encoding" ||
         lower == "connection" || lower == "expect" || lower.rfind("webhook-", 0) == 0;
}

std::vector<WebhookFault> CheckWebhookRequest(const std::string& url,
                                              const std::vector<Header>& headers) {
  std::vector<WebhookFault> faults;
  if (const auto parsed = ParseUrl(url); !parsed.ok()) {
    faults.push_back({"url", std::string(parsed.status().message())});
  }
  if (headers.size() > kMaxHeaders) {
    faults.push_back({absl::StrCat("headers[", kMaxHeaders, "]"),
                      absl::StrCat("is one too many: there are ", headers.size(),
                                   " headers, at most ", kMaxHeaders, " are allowed")});
    return faults;
  }
  size_t bytes = 0;
  std::optional<size_t> too_much;
  for (size_t i = 0; i < headers.size(); ++i) {
    const Header& header = headers[i];
    const std::string path = absl::StrCat("headers[", i, "]");
    bytes += header.name.size() + header.value.size();
    if (bytes > kMaxHeaderBytes && !too_much) too_much = i;
    if (!IsToken(header.name)) {
      faults.push_back({path + ".name",
                        "must be a token (RFC 9110): letters, digits and "
                        "!#$%&'*+-.^_`|~"});
    } else if (IsReservedHeader(header.name)) {
      faults.push_back({path + ".name", "is a header that Postrider sets itself"});
    }
    if (std::any_of(header.value.begin(), header.value.end(), IsControl)) {
      faults.push_back(
          {path + ".value", "must have no CR, LF, NUL or other control character but tab"});
    }
  }
  if (too_much) {
    faults.push_back(
        {absl::StrCat("headers[", *too_much, "]"),
         absl::StrCat("is too much: the headers have ", bytes,
                      " bytes of names and values, at most ", kMaxHeaderBytes, " are allowed")});
  }
  return faults;
}

}  // namespace postrider
