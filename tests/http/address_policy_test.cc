#include "src/http/address_policy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace postrider {
namespace {

using testing::HasSubstr;

IpAddress Ip(const std::string& text) {
  const absl::StatusOr<IpAddress> ip = IpAddress::Parse(text);
  EXPECT_TRUE(ip.ok()) << text;
  return ip.value_or(IpAddress());
}

Cidr Net(const std::string& text) {
  const absl::StatusOr<Cidr> cidr = Cidr::Parse(text);
  EXPECT_TRUE(cidr.ok()) << text;
  return cidr.value_or(Cidr());
}

// ---- Addresses and networks

TEST(IpAddressTest, ParsesAndPrints) {
  for (const char* text : {"192.0.2.1", "0.0.0.0", "255.255.255.255", "::", "::1", "2001:db8::1",
                           "fe80::1:2:3:4", "::ffff:1.2.3.4"}) {
    EXPECT_EQ(Ip(text).ToString(), text);
  }
  EXPECT_EQ(Ip("2001:DB8:0:0:0:0:0:1").ToString(), "2001:db8::1");
  EXPECT_FALSE(Ip("1.2.3.4").is_v6);
  EXPECT_TRUE(Ip("::1.2.3.4").is_v6);
}

TEST(IpAddressTest, RefusesWhatIsNone) {
  for (const std::string text :
       {"", " ", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "0x7f.0.0.1", " 1.2.3.4",
        "1.2.3.4 ", "1.2.3.4:80", "[::1]", ":::", "1:2:3:4:5:6:7", "fe80::1%eth0", "localhost"}) {
    const absl::StatusOr<IpAddress> ip = IpAddress::Parse(text);
    EXPECT_EQ(ip.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(ip.status().message()), HasSubstr("'" + text + "'"));
  }
  EXPECT_FALSE(IpAddress::Parse(std::string_view("1.2.3.4\0.evil", 13)).ok());
}

TEST(IpAddressTest, ComesFromASocketAddress) {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  inet_pton(AF_INET, "192.0.2.7", &v4.sin_addr);
  EXPECT_EQ(IpAddress::FromSockaddr(reinterpret_cast<sockaddr*>(&v4)).value(), Ip("192.0.2.7"));
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  inet_pton(AF_INET6, "2001:db8::7", &v6.sin6_addr);
  EXPECT_EQ(IpAddress::FromSockaddr(reinterpret_cast<sockaddr*>(&v6)).value(), Ip("2001:db8::7"));
  sockaddr_un local{};
  local.sun_family = AF_UNIX;
  EXPECT_FALSE(IpAddress::FromSockaddr(reinterpret_cast<sockaddr*>(&local)).ok());
}

TEST(CidrTest, ParsesNetworksAndAddressesAlone) {
  EXPECT_EQ(Net("10.0.0.0/8").prefix_length, 8);
  EXPECT_EQ(Net("10.0.0.0/8").network, Ip("10.0.0.0"));
  EXPECT_EQ(Net("0.0.0.0/0").prefix_length, 0);
  EXPECT_EQ(Net("192.0.2.1").prefix_length, 32);
  EXPECT_EQ(Net("::1").prefix_length, 128);
  EXPECT_EQ(Net("2001:db8::/128").prefix_length, 128);
}

TEST(CidrTest, RefusesWhatIsNone) {
  for (const char* text :
       {"", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/8 ",
        "10.0.0.0/ 8", "10.0.0.0/8/8", "10.0.0.0/x", "10.0.0.0/99999999999", "10/8", "::/129",
        "10.0.0.0/255.0.0.0", "localhost/8"}) {
    EXPECT_EQ(Cidr::Parse(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_THAT(std::string(Cidr::Parse("10.0.0.0/33").status().message()),
              HasSubstr("from 0 to 32"));
  EXPECT_THAT(std::string(Cidr::Parse("::/129").status().message()), HasSubstr("from 0 to 128"));
}

TEST(CidrTest, ContainsWhatSharesThePrefix) {
  EXPECT_TRUE(Net("172.16.0.0/12").Contains(Ip("172.31.255.255")));
  EXPECT_FALSE(Net("172.16.0.0/12").Contains(Ip("172.32.0.0")));
  EXPECT_FALSE(Net("172.16.0.0/12").Contains(Ip("172.15.255.255")));
  EXPECT_TRUE(Net("172.20.1.1/12").Contains(Ip("172.16.0.0"))) << "the rest does not count";
  EXPECT_TRUE(Net("192.0.2.1").Contains(Ip("192.0.2.1")));
  EXPECT_FALSE(Net("192.0.2.1").Contains(Ip("192.0.2.0")));
  EXPECT_TRUE(Net("0.0.0.0/0").Contains(Ip("255.1.2.3")));
  EXPECT_FALSE(Net("0.0.0.0/0").Contains(Ip("::")));
  EXPECT_FALSE(Net("::/0").Contains(Ip("0.0.0.0")));
  EXPECT_TRUE(Net("fc00::/7").Contains(Ip("fdff::1")));
  EXPECT_FALSE(Net("fc00::/7").Contains(Ip("fe00::1")));
  EXPECT_TRUE(Net("2001:db8::1/128").Contains(Ip("2001:db8::1")));
  EXPECT_FALSE(Net("2001:db8::1/128").Contains(Ip("2001:db8::")));
}

// ---- The policy

struct Range {
  const char* first;
  const char* last;
  const char* kind;
};

class SpecialRangeTest : public testing::TestWithParam<Range> {};

TEST_P(SpecialRangeTest, IsRefusedFromEndToEnd) {
  const AddressPolicy policy({});
  for (const char* text : {GetParam().first, GetParam().last}) {
    const absl::Status status = policy.Judge(Ip(text));
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << text;
    const std::string message(status.message());
    EXPECT_THAT(message, HasSubstr(absl::StrCat(text, " is ", GetParam().kind, " address")));
    const std::string flag =
        absl::StrCat("--allow-network ", text, Ip(text).is_v6 ? "/128" : "/32");
    // What opens this machine's credentials is no remedy.
    const bool offered = std::string(GetParam().kind) != "a cloud metadata";
    EXPECT_EQ(absl::StrContains(message, flag), offered) << message;
  }
}

INSTANTIATE_TEST_SUITE_P(
    V4, SpecialRangeTest,
    testing::Values(Range{"0.0.0.0", "0.255.255.255", "an unspecified"},
                    Range{"10.0.0.0", "10.255.255.255", "a private"},
                    Range{"100.64.0.0", "100.127.255.255", "a carrier-grade NAT"},
                    Range{"127.0.0.0", "127.255.255.255", "a loopback"},
                    Range{"169.254.0.0", "169.254.255.255", "a link-local"},
                    Range{"169.254.169.254", "169.254.169.254", "a cloud metadata"},
                    Range{"100.100.100.200", "100.100.100.200", "a cloud metadata"},
                    Range{"168.63.129.16", "168.63.129.16", "a cloud metadata"},
                    Range{"172.16.0.0", "172.31.255.255", "a private"},
                    Range{"192.0.0.0", "192.0.0.255", "a protocol assignment"},
                    Range{"192.0.2.0", "192.0.2.255", "a documentation"},
                    Range{"192.88.99.0", "192.88.99.255", "a 6to4 relay"},
                    Range{"192.168.0.0", "192.168.255.255", "a private"},
                    Range{"198.18.0.0", "198.19.255.255", "a benchmarking"},
                    Range{"198.51.100.0", "198.51.100.255", "a documentation"},
                    Range{"203.0.113.0", "203.0.113.255", "a documentation"},
                    Range{"224.0.0.0", "239.255.255.255", "a multicast"},
                    Range{"240.0.0.0", "255.255.255.254", "a reserved"},
                    Range{"255.255.255.255", "255.255.255.255", "a broadcast"}));

INSTANTIATE_TEST_SUITE_P(
    V6, SpecialRangeTest,
    testing::Values(
        Range{"::", "::", "an unspecified"}, Range{"::1", "::1", "a loopback"},
        Range{"::2", "::255.255.255.255", "an IPv4-compatible"},
        Range{"64:ff9b::", "64:ff9b::ffff:ffff", "an NAT64"},
        Range{"64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "an NAT64"},
        Range{"::ffff:0:0:0", "::ffff:0:ffff:ffff", "a reserved"},
        Range{"100::", "100::ffff:ffff:ffff:ffff", "a discard-only"},
        Range{"2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "a Teredo"},
        Range{"2001:1::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "a protocol assignment"},
        Range{"2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "a documentation"},
        Range{"2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "a 6to4"},
        Range{"3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "a documentation"},
        Range{"4000::", "5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "a reserved"},
        Range{"5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "a segment routing"},
        Range{"fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "a private"},
        Range{"fd00:ec2::254", "fd20:ce::254", "a cloud metadata"},
        Range{"fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "a link-local"},
        Range{"fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "a site-local"},
        Range{"8000::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "a reserved"},
        Range{"ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "a multicast"}));

TEST(AddressPolicyTest, PublicAddressesPass) {
  const AddressPolicy policy({});
  // The neighbours of the special ranges among them.
  for (const char* text : {"1.0.0.0",         "8.8.8.8",
                           "9.255.255.255",   "11.0.0.0",
                           "100.63.255.255",  "100.128.0.0",
                           "126.255.255.255", "128.0.0.0",
                           "168.63.129.15",   "168.63.129.17",
                           "169.253.255.255", "169.255.0.0",
                           "172.15.255.255",  "172.32.0.0",
                           "191.255.255.255", "192.0.1.0",
                           "192.0.3.0",       "192.88.98.255",
                           "192.88.100.0",    "192.167.255.255",
                           "192.169.0.0",     "198.17.255.255",
                           "198.20.0.0",      "198.51.99.255",
                           "198.51.101.0",    "203.0.112.255",
                           "203.0.114.0",     "223.255.255.255",
                           "2000::1",         "2001:200::",
                           "2001:db7:ffff::", "2001:db9::",
                           "2003::1",         "2606:4700:4700::1111",
                           "2a00::1",         "3ffe:ffff::1",
                           "3fff:1000::",     "::ffff:8.8.8.8"}) {
    EXPECT_TRUE(policy.Judge(Ip(text)).ok()) << text;
  }
}

TEST(AddressPolicyTest, AnIpv4AddressInIpv6ClothesIsJudgedAsWhatItIs) {
  const AddressPolicy policy({});
  const absl::Status status = policy.Judge(Ip("::ffff:169.254.169.254"));
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("169.254.169.254 is a cloud metadata address"));
  for (const char* text :
       {"::ffff:127.0.0.1", "::ffff:10.1.2.3", "::ffff:0.0.0.0", "::127.0.0.1", "64:ff9b::7f00:1",
        "64:ff9b::10.1.2.3", "2002:7f00:1::", "2002:a00:1::1", "::ffff:0:127.0.0.1"}) {
    EXPECT_FALSE(policy.Judge(Ip(text)).ok()) << text;
  }
}

TEST(AddressPolicyTest, AllowedNetworksOpenThemselvesAlone) {
  const AddressPolicy policy({Net("10.1.0.0/16"), Net("::1/128")});
  EXPECT_TRUE(policy.Judge(Ip("10.1.0.0")).ok());
  EXPECT_TRUE(policy.Judge(Ip("10.1.255.255")).ok());
  EXPECT_TRUE(policy.Judge(Ip("::ffff:10.1.2.3")).ok()) << "the same host";
  EXPECT_TRUE(policy.Judge(Ip("::1")).ok());
  EXPECT_TRUE(policy.Judge(Ip("8.8.8.8")).ok()) << "what is public stays open";
  for (const char* text : {"10.0.255.255", "10.2.0.0", "127.0.0.1", "169.254.169.254", "::", "::2",
                           "fe80::1", "::ffff:10.2.0.0", "64:ff9b::10.1.0.1"}) {
    EXPECT_FALSE(policy.Judge(Ip(text)).ok()) << text;
  }
}

TEST(AddressPolicyTest, WhatTheErrorNamesOpensTheAddress) {
  for (const char* text : {"127.0.0.1", "::1", "::ffff:10.0.0.1", "fd00::1"}) {
    const absl::Status refused = AddressPolicy({}).Judge(Ip(text));
    ASSERT_FALSE(refused.ok());
    const std::string message(refused.message());
    const size_t flag = message.find("--allow-network ");
    ASSERT_NE(flag, std::string::npos);
    const std::string network = message.substr(message.find(' ', flag) + 1);
    EXPECT_TRUE(AddressPolicy({Net(network)}).Judge(Ip(text)).ok()) << network;
  }
}

}  // namespace
}  // namespace postrider
