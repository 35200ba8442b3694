#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct sockaddr;
struct sockaddr_storage;

namespace postrider {

// An IP address.
struct IpAddress {
  // IPv4 addresses use the first four bytes.
  std::array<uint8_t, 16> bytes{};
  bool is_v6 = false;

  // Nothing else than AF_INET and AF_INET6 is an address.
  static absl::StatusOr<IpAddress> FromSockaddr(const sockaddr* address);
  // "192.0.2.1", "2001:db8::1"; no brackets.
  static absl::StatusOr<IpAddress> Parse(std::string_view text);
  std::string ToString() const;
  // As a socket takes it; returns how long that is.
  uint32_t ToSockaddr(uint16_t port, sockaddr_storage* storage) const;

  bool operator==(const IpAddress&) const = default;
  template <typename H>
  friend H AbslHashValue(H state, const IpAddress& address) {
    return H::combine(std::move(state), address.bytes, address.is_v6);
  }
};

// "127.0.0.0/8", "::1/128", or an address alone.
struct Cidr {
  IpAddress network;
  int prefix_length = 0;

  static absl::StatusOr<Cidr> Parse(std::string_view text);
  bool Contains(const IpAddress& address) const;
};

// Which addresses requests may go to. Immutable, thread-safe.
class AddressPolicy {
 public:
  // `allowed`: the special networks that are opened.
  explicit AddressPolicy(std::vector<Cidr> allowed) : allowed_(std::move(allowed)) {}

  // OK, or PERMISSION_DENIED with a sentence that names the address, the kind of its range, and the
  // flag that would open it.
  absl::Status Judge(const IpAddress& address) const;

 private:
  const std::vector<Cidr> allowed_;
};

}  // namespace postrider
