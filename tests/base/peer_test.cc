#include "src/base/peer.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <string>

namespace postrider {
namespace {

std::string OfIpv6(const char* text) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  EXPECT_EQ(inet_pton(AF_INET6, text, &address.sin6_addr), 1);
  return PeerOf(reinterpret_cast<const sockaddr*>(&address));
}

TEST(PeerTest, AnIpv4AddressIsAPeer) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(0xC0000207);
  EXPECT_EQ(PeerOf(reinterpret_cast<const sockaddr*>(&address)), "192.0.2.7");
  EXPECT_EQ(OfIpv6("::ffff:192.0.2.7"), "192.0.2.7");
}

TEST(PeerTest, AnIpv6NetworkIsAPeer) {
  EXPECT_EQ(OfIpv6("2001:db8:1:2:3::4"), "2001:db8:1:2::/64");
  EXPECT_EQ(OfIpv6("2001:db8:1:3:3::4"), "2001:db8:1:3::/64");
}

TEST(PeerTest, WhatIsNoAddressIsOnePeer) {
  const sockaddr address{AF_UNIX, {}};
  EXPECT_EQ(PeerOf(&address), "other");
}

}  // namespace
}  // namespace postrider
