#include "tests/http/dns_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "src/base/clock.h"

namespace postrider {
namespace {

// RFC 1035, section 4.
constexpr size_t kHeaderBytes = 12;
constexpr uint16_t kTypeA = 1;
constexpr uint16_t kTypeAaaa = 28;
constexpr uint16_t kClassInternet = 1;

[[noreturn]] void Die(const char* call) {
  std::fprintf(stderr, "DnsServer: %s failed: %s\n", call, std::strerror(errno));
  std::abort();
}

void Append16(std::string* out, uint16_t value) {
  *out += static_cast<char>(value >> 8);
  *out += static_cast<char>(value & 0xff);
}

void Append32(std::string* out, uint32_t value) {
  Append16(out, static_cast<uint16_t>(value >> 16));
  Append16(out, static_cast<uint16_t>(value & 0xffff));
}

// The name that begins at `*offset`, which is then behind it.
std::string ReadName(const std::string& packet, size_t* offset) {
  std::string name;
  while (*offset < packet.size()) {
    const auto length = static_cast<uint8_t>(packet[(*offset)++]);
    if (length == 0) break;
    absl::StrAppend(&name, name.empty() ? "" : ".", packet.substr(*offset, length));
    *offset += length;
  }
  return absl::AsciiStrToLower(name);
}

}  // namespace

DnsServer::DnsServer()
    : fd_(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)), stop_(eventfd(0, EFD_CLOEXEC)) {
  if (fd_ < 0 || stop_ < 0) Die("socket or eventfd");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(fd_, reinterpret_cast<sockaddr*>(&address), size) != 0) Die("bind");
  if (getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0) Die("getsockname");
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { Run(); });
}

DnsServer::~DnsServer() {
  if (eventfd_write(stop_, 1) != 0) Die("eventfd_write");
  thread_.join();
  close(fd_);
  close(stop_);
}

std::string DnsServer::Address() const { return absl::StrCat("127.0.0.1:", port_); }

void DnsServer::Set(const std::string& name, DnsRecords records) {
  MutexLock lock(&mutex_);
  records_[name] = std::move(records);
}

size_t DnsServer::questions(const std::string& name) const {
  MutexLock lock(&mutex_);
  const auto it = questions_.find(name);
  return it == questions_.end() ? 0 : it->second;
}

bool DnsServer::WaitForQuestions(const std::string& name, size_t count) const {
  const absl::Duration deadline = SystemClock().Monotonic() + absl::Minutes(1);
  MutexLock lock(&mutex_);
  while (true) {
    const auto it = questions_.find(name);
    if (it != questions_.end() && it->second >= count) return true;
    const absl::Duration left = deadline - SystemClock().Monotonic();
    if (left <= absl::ZeroDuration()) return count == 0;
    changed_.WaitFor(&mutex_, left);
  }
}

void DnsServer::Run() {
  while (true) {
    pollfd polled[] = {{fd_, POLLIN, 0}, {stop_, POLLIN, 0}};
    if (poll(polled, 2, -1) < 0 && errno != EINTR) Die("poll");
    if (polled[1].revents != 0) return;
    if (polled[0].revents == 0) continue;
    char buffer[2048];
    sockaddr_storage client{};
    socklen_t client_size = sizeof client;
    const ssize_t size =
        recvfrom(fd_, buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&client), &client_size);
    if (size < static_cast<ssize_t>(kHeaderBytes)) continue;
    Take({std::string(buffer, size), client, client_size});
  }
}

void DnsServer::Take(Question question) {
  const std::string answer = Answer(question);
  if (answer.empty()) return;
  // The client may be gone.
  (void)sendto(fd_, answer.data(), answer.size(), 0,
               reinterpret_cast<const sockaddr*>(&question.client), question.client_size);
}

void DnsServer::Release() {
  std::vector<Question> held;
  {
    MutexLock lock(&mutex_);
    held.swap(held_);
  }
  for (Question& question : held) Take(std::move(question));
}

std::string DnsServer::Answer(const Question& asked) {
  const std::string& question = asked.packet;
  size_t offset = kHeaderBytes;
  const std::string name = ReadName(question, &offset);
  if (offset + 4 > question.size()) return "";
  const auto type = static_cast<uint16_t>((static_cast<uint8_t>(question[offset]) << 8) |
                                          static_cast<uint8_t>(question[offset + 1]));
  offset += 4;

  DnsRecords records;
  records.way = DnsRecords::Way::kNoSuchName;
  {
    MutexLock lock(&mutex_);
    ++questions_[name];
    changed_.SignalAll();
    if (const auto it = records_.find(name); it != records_.end()) records = it->second;
    if (type == kTypeAaaa) records.way = records.v6_way.value_or(records.way);
    if (records.way == DnsRecords::Way::kHeld) {
      held_.push_back(asked);
      return "";
    }
  }
  if (records.way == DnsRecords::Way::kSilence) return "";

  std::string sections;
  uint16_t count = 0;
  if (records.way == DnsRecords::Way::kAnswer) {
    for (const std::string& text : records.addresses) {
      const absl::StatusOr<IpAddress> address = IpAddress::Parse(text);
      if (!address.ok()) Die(text.c_str());
      if (type != (address->is_v6 ? kTypeAaaa : kTypeA)) continue;
      const uint16_t size = address->is_v6 ? 16 : 4;
      Append16(&sections, 0xc000 | kHeaderBytes);  // the name of the question
      Append16(&sections, type);
      Append16(&sections, kClassInternet);
      Append32(&sections, records.ttl_seconds);
      Append16(&sections, size);
      sections.append(reinterpret_cast<const char*>(address->bytes.data()), size);
      ++count;
    }
  }
  uint16_t code = 0;
  if (records.way == DnsRecords::Way::kServerFailure) code = 2;
  if (records.way == DnsRecords::Way::kNoSuchName) code = 3;
  if (records.way == DnsRecords::Way::kRefusal) code = 5;
  std::string answer = question.substr(0, 2);
  Append16(&answer, 0x8180 | code);  // an answer, from a server that recurses
  Append16(&answer, 1);
  Append16(&answer, count);
  Append32(&answer, 0);
  return answer + question.substr(kHeaderBytes, offset - kHeaderBytes) + sections;
}

}  // namespace postrider
