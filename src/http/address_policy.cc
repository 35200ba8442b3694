#include "src/http/address_policy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace postrider {
namespace {

constexpr char kCloudMetadata[] = "a cloud metadata";

struct SpecialRange {
  const char* cidr;
  // As it stands in "is ... address".
  const char* kind;
};

// IANA's special-purpose registries (RFC 6890 and its updates, as of 2024), multicast, and the
// addresses at which clouds serve their metadata, also where they are public ones. The first that
// contains an address names it.
constexpr SpecialRange kV4Ranges[] = {
    {"169.254.169.254/32", kCloudMetadata},
    {"100.100.100.200/32", kCloudMetadata},
    {"168.63.129.16/32", kCloudMetadata},
    {"0.0.0.0/8", "an unspecified"},
    {"10.0.0.0/8", "a private"},
    {"100.64.0.0/10", "a carrier-grade NAT"},
    {"127.0.0.0/8", "a loopback"},
    {"169.254.0.0/16", "a link-local"},
    {"172.16.0.0/12", "a private"},
    {"192.0.0.0/24", "a protocol assignment"},
    {"192.0.2.0/24", "a documentation"},
    {"192.88.99.0/24", "a 6to4 relay"},
    {"192.168.0.0/16", "a private"},
    {"198.18.0.0/15", "a benchmarking"},
    {"198.51.100.0/24", "a documentation"},
    {"203.0.113.0/24", "a documentation"},
    {"224.0.0.0/4", "a multicast"},
    {"255.255.255.255/32", "a broadcast"},
    {"240.0.0.0/4", "a reserved"},
};

constexpr SpecialRange kV6Ranges[] = {
    {"fd00:ec2::254/128", kCloudMetadata},
    {"fd20:ce::254/128", kCloudMetadata},
    {"::/128", "an unspecified"},
    {"::1/128", "a loopback"},
    {"::/96", "an IPv4-compatible"},
    {"64:ff9b::/96", "an NAT64"},
    {"64:ff9b:1::/48", "an NAT64"},
    {"100::/64", "a discard-only"},
    {"2001::/32", "a Teredo"},
    {"2001::/23", "a protocol assignment"},
    {"2001:db8::/32", "a documentation"},
    {"2002::/16", "a 6to4"},
    {"3fff::/20", "a documentation"},
    {"5f00::/16", "a segment routing"},
    {"fc00::/7", "a private"},
    {"fe80::/10", "a link-local"},
    {"fec0::/10", "a site-local"},
    {"ff00::/8", "a multicast"},
    // All but 2000::/3: nobody has been given an address there.
    {"::/3", "a reserved"},
    {"4000::/2", "a reserved"},
    {"8000::/1", "a reserved"},
};

struct ParsedRange {
  Cidr cidr;
  const char* kind;
};

template <size_t kCount>
std::vector<ParsedRange> ParseRanges(const SpecialRange (&ranges)[kCount]) {
  std::vector<ParsedRange> parsed;
  for (const SpecialRange& range : ranges) {
    const absl::StatusOr<Cidr> cidr = Cidr::Parse(range.cidr);
    if (!cidr.ok()) {
      std::fprintf(stderr, "the table of special addresses is wrong at %s\n", range.cidr);
      std::abort();
    }
    parsed.push_back({*cidr, range.kind});
  }
  return parsed;
}

// What the range that contains the address is called; null when it is an ordinary address.
const char* KindOf(const IpAddress& address) {
  static const auto* const v4 = new std::vector<ParsedRange>(ParseRanges(kV4Ranges));
  static const auto* const v6 = new std::vector<ParsedRange>(ParseRanges(kV6Ranges));
  for (const ParsedRange& range : address.is_v6 ? *v6 : *v4) {
    if (range.cidr.Contains(address)) return range.kind;
  }
  return nullptr;
}

// The IPv4 address that ::ffff:a.b.c.d stands for: a socket of either family reaches the same host.
std::optional<IpAddress> Mapped(const IpAddress& address) {
  static constexpr uint8_t kPrefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (!address.is_v6 || std::memcmp(address.bytes.data(), kPrefix, sizeof kPrefix) != 0) {
    return std::nullopt;
  }
  IpAddress v4;
  std::memcpy(v4.bytes.data(), address.bytes.data() + sizeof kPrefix, 4);
  return v4;
}

}  // namespace

absl::StatusOr<IpAddress> IpAddress::FromSockaddr(const sockaddr* address) {
  IpAddress ip;
  if (address->sa_family == AF_INET) {
    sockaddr_in in;
    std::memcpy(&in, address, sizeof in);
    std::memcpy(ip.bytes.data(), &in.sin_addr, 4);
    return ip;
  }
  if (address->sa_family == AF_INET6) {
    sockaddr_in6 in6;
    std::memcpy(&in6, address, sizeof in6);
    std::memcpy(ip.bytes.data(), &in6.sin6_addr, 16);
    ip.is_v6 = true;
    return ip;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("address family ", address->sa_family, " is neither IPv4 nor IPv6"));
}

absl::StatusOr<IpAddress> IpAddress::Parse(std::string_view text) {
  const std::string terminated(text);
  // inet_pton would not see what follows a NUL.
  const bool whole = terminated.find('\0') == std::string::npos;
  IpAddress ip;
  if (whole && inet_pton(AF_INET, terminated.c_str(), ip.bytes.data()) == 1) return ip;
  if (whole && inet_pton(AF_INET6, terminated.c_str(), ip.bytes.data()) == 1) {
    ip.is_v6 = true;
    return ip;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'", terminated, "' is no IP address: write it as 192.0.2.1 or 2001:db8::1"));
}

std::string IpAddress::ToString() const {
  char text[INET6_ADDRSTRLEN];
  if (inet_ntop(is_v6 ? AF_INET6 : AF_INET, bytes.data(), text, sizeof text) == nullptr) {
    std::abort();  // the buffer is large enough for both
  }
  return text;
}

uint32_t IpAddress::ToSockaddr(uint16_t port, sockaddr_storage* storage) const {
  std::memset(storage, 0, sizeof *storage);
  if (is_v6) {
    auto* const v6 = reinterpret_cast<sockaddr_in6*>(storage);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    std::memcpy(&v6->sin6_addr, bytes.data(), sizeof v6->sin6_addr);
    return sizeof *v6;
  }
  auto* const v4 = reinterpret_cast<sockaddr_in*>(storage);
  v4->sin_family = AF_INET;
  v4->sin_port = htons(port);
  std::memcpy(&v4->sin_addr, bytes.data(), sizeof v4->sin_addr);
  return sizeof *v4;
}

absl::StatusOr<Cidr> Cidr::Parse(std::string_view text) {
  const size_t slash = text.find('/');
  Cidr cidr;
  absl::StatusOr<IpAddress> network = IpAddress::Parse(text.substr(0, slash));
  if (!network.ok()) return network.status();
  cidr.network = *network;
  const int max_length = network->is_v6 ? 128 : 32;
  cidr.prefix_length = max_length;
  if (slash == std::string_view::npos) return cidr;
  const std::string_view length = text.substr(slash + 1);
  const auto [end, error] =
      std::from_chars(length.data(), length.data() + length.size(), cidr.prefix_length);
  if (error != std::errc() || end != length.data() + length.size() || cidr.prefix_length < 0 ||
      cidr.prefix_length > max_length) {
    return absl::InvalidArgumentError(absl::StrCat("'", std::string(text),
                                                   "' is no network: behind the slash stands a "
                                                   "number from 0 to ",
                                                   max_length));
  }
  return cidr;
}

bool Cidr::Contains(const IpAddress& address) const {
  if (address.is_v6 != network.is_v6) return false;
  const int whole = prefix_length / 8;
  if (std::memcmp(address.bytes.data(), network.bytes.data(), whole) != 0) return false;
  const int rest = prefix_length % 8;
  if (rest == 0) return true;
  const auto mask = static_cast<uint8_t>(0xff << (8 - rest));
  return (address.bytes[whole] & mask) == (network.bytes[whole] & mask);
}

absl::Status AddressPolicy::Judge(const IpAddress& address) const {
  const IpAddress judged = Mapped(address).value_or(address);
  const char* const kind = KindOf(judged);
  if (kind == nullptr) return absl::OkStatus();
  for (const Cidr& cidr : allowed_) {
    if (cidr.Contains(judged) || cidr.Contains(address)) return absl::OkStatus();
  }
  const std::string text = judged.ToString();
  // No way to open it is offered: it is almost never what was meant, and what it would give away
  // are this machine's own credentials.
  if (std::string_view(kind) == kCloudMetadata) {
    return absl::PermissionDeniedError(
        absl::StrCat(text, " is ", kind,
                     " address, where this machine's own credentials are, and requests to such are "
                     "refused: configure the receiver's own address"));
  }
  return absl::PermissionDeniedError(
      absl::StrCat(text, " is ", kind,
                   " address, and requests to such are refused; to allow it, start the server with "
                   "--allow-network ",
                   text, judged.is_v6 ? "/128" : "/32"));
}

}  // namespace postrider
