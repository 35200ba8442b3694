#include "src/http/dns_reply.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace postrider {
namespace {

// Sends nothing.
bool HasRoute(const IpAddress& address) {
  const int fd = socket(address.is_v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  // Any port will do: connecting a datagram socket only asks for the route.
  sockaddr_storage storage;
  const socklen_t size = address.ToSockaddr(1, &storage);
  const bool connected = connect(fd, reinterpret_cast<const sockaddr*>(&storage), size) == 0;
  close(fd);
  return connected;
}

}  // namespace

absl::Status ExplainDns(DnsCode code, const std::string& host) {
  switch (code) {
    case DnsCode::kBadName:
      return absl::NotFoundError(
          absl::StrCat("the host ", host, " is no name that DNS can have; correct the URL"));
    case DnsCode::kNoName:
      return absl::NotFoundError(absl::StrCat("the host ", host,
                                              " does not exist in DNS (NXDOMAIN); correct the "
                                              "URL, or wait until its record is there"));
    case DnsCode::kNoAddress:
      return absl::NotFoundError(absl::StrCat("the host ", host,
                                              " has no address in DNS (neither A nor AAAA); "
                                              "correct the URL, or wait until its record is "
                                              "there"));
    case DnsCode::kRefused:
      return absl::UnavailableError(absl::StrCat("the name servers refuse to tell the address of ",
                                                 host,
                                                 " (REFUSED); name servers that serve this machine "
                                                 "in /etc/resolv.conf"));
    case DnsCode::kServerFailed:
      return absl::UnavailableError(absl::StrCat("the name servers failed at looking up ", host,
                                                 " (SERVFAIL); see that the name servers of its "
                                                 "domain answer, and that its DNSSEC is in order"));
    case DnsCode::kTimeout:
      return absl::DeadlineExceededError(
          absl::StrCat("no name server told the address of ", host,
                       " in time; check this machine's DNS (/etc/resolv.conf)"));
    case DnsCode::kNoServer:
      return absl::UnavailableError(absl::StrCat("the address of ", host,
                                                 " cannot be looked up, since no name server can "
                                                 "be reached; check this machine's DNS "
                                                 "(/etc/resolv.conf)"));
    case DnsCode::kNoResources:
      return absl::ResourceExhaustedError(
          absl::StrCat("the address of ", host,
                       " was not looked up, since this server cannot open a socket; raise its "
                       "limit of open files (ulimit -n, LimitNOFILE)"));
    default:
      return absl::UnavailableError(absl::StrCat("what the name servers answered about ", host,
                                                 " is no answer to the question; check this "
                                                 "machine's DNS (/etc/resolv.conf)"));
  }
}

std::vector<IpAddress> TakeTurns(const std::vector<IpAddress>& first,
                                 const std::vector<IpAddress>& second) {
  std::vector<IpAddress> all;
  all.reserve(first.size() + second.size());
  for (size_t i = 0; i < std::max(first.size(), second.size()); ++i) {
    if (i < first.size()) all.push_back(first[i]);
    if (i < second.size()) all.push_back(second[i]);
  }
  return all;
}

std::vector<IpAddress> InOrder(const std::vector<IpAddress>& addresses) {
  std::vector<IpAddress> v4;
  std::vector<IpAddress> v6;
  for (const IpAddress& address : addresses) (address.is_v6 ? v6 : v4).push_back(address);
  if (v4.empty() || v6.empty()) return addresses;
  return HasRoute(v6.front()) ? TakeTurns(v6, v4) : TakeTurns(v4, v6);
}

bool CanOpenSocket() {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  close(fd);
  return true;
}

}  // namespace postrider
