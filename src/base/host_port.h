#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace postrider {

// An address and a port: `127.0.0.1:7411`, `[::1]:7411`, `localhost:0`.
struct HostPort {
  // Without brackets.
  std::string host;
  int port = 0;

  // With brackets around an IPv6 address.
  std::string ToString() const;
  // The host is 127.0.0.0/8, ::1 or `localhost`.
  bool IsLoopback() const;
};
std::optional<HostPort> ParseHostPort(std::string_view text);

}  // namespace postrider
