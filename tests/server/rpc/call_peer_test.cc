#include "src/server/rpc/call_peer.h"

#include <gtest/gtest.h>

namespace postrider {
namespace {

TEST(CallPeerTest, AnIpv4AddressIsAPeer) {
  EXPECT_EQ(PeerOfCall("ipv4:192.0.2.7:50000"), "192.0.2.7");
}

TEST(CallPeerTest, AnIpv6NetworkIsAPeer) {
  EXPECT_EQ(PeerOfCall("ipv6:%5B2001:db8:1:2:ffff::9%5D:50000"), "2001:db8:1:2::/64");
  EXPECT_EQ(PeerOfCall("ipv6:[2001:db8:1:2:ffff::9]:50000"), "2001:db8:1:2::/64");
  EXPECT_EQ(PeerOfCall("ipv6:%5Bfe80::1%252%5D:50000"), "fe80::/64");
}

TEST(CallPeerTest, WhatIsNoAddressIsOnePeer) {
  EXPECT_EQ(PeerOfCall("unix:/tmp/socket"), "other");
  EXPECT_EQ(PeerOfCall(""), "other");
  EXPECT_EQ(PeerOfCall("ipv6:%5Bnonsense%5D:1"), "other");
}

}  // namespace
}  // namespace postrider
