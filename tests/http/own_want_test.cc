#include "src/http/own_want.h"

#include <unistd.h>

#include <cerrno>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "src/http/address_policy.h"

namespace postrider {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

std::string WantOf(int error, const std::string& address) {
  sockaddr_storage storage;
  const socklen_t size = IpAddress::Parse(address)->ToSockaddr(443, &storage);
  return DescribeOwnWant(error, reinterpret_cast<const sockaddr*>(&storage), size);
}

// A machine without IPv6 has no such address.
bool HasIpv6Loopback() {
  sockaddr_storage storage;
  const socklen_t size = IpAddress::Parse("::1")->ToSockaddr(0, &storage);
  const int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool has = fd >= 0 && bind(fd, reinterpret_cast<const sockaddr*>(&storage), size) == 0;
  if (fd >= 0) close(fd);
  return has;
}

TEST(OwnWantTest, DescriptorsAndMemoryAreOurs) {
  for (const int error : {EMFILE, ENFILE}) {
    EXPECT_THAT(DescribeOwnWant(error), HasSubstr("LimitNOFILE")) << error;
  }
  for (const int error : {ENOBUFS, ENOMEM}) {
    EXPECT_THAT(DescribeOwnWant(error), HasSubstr("short of memory")) << error;
  }
  for (const int error : {0, ECONNREFUSED, ENETUNREACH, EHOSTUNREACH, ETIMEDOUT}) {
    EXPECT_THAT(WantOf(error, "127.0.0.1"), IsEmpty()) << error;
  }
}

TEST(OwnWantTest, LocalPortsAreOursOfBothFamilies) {
  EXPECT_THAT(WantOf(EADDRNOTAVAIL, "127.0.0.1"), HasSubstr("ip_local_port_range"));
  EXPECT_THAT(DescribeOwnWant(EADDRNOTAVAIL), IsEmpty()) << "it depends on the address";
  if (!HasIpv6Loopback()) GTEST_SKIP() << "there is no IPv6 here";
  EXPECT_THAT(WantOf(EADDRNOTAVAIL, "::1"), HasSubstr("ip_local_port_range"));
}

TEST(OwnWantTest, WhereThisMachineHasNoAddressToComeFromPortsDoNotMatter) {
  EXPECT_THAT(WantOf(EADDRNOTAVAIL, "255.255.255.255"), IsEmpty());
  // Link-local, and no interface is named.
  EXPECT_THAT(WantOf(EADDRNOTAVAIL, "fe80::1"), IsEmpty());
}

}  // namespace
}  // namespace postrider
