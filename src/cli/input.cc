#include "src/cli/input.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace postrider {
namespace {

// More than any notification may have; a device that never ends is not read for ever.
constexpr size_t kMaxInputBytes = 64 << 20;

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

bool HostAndPort::IsLoopback() const {
  if (host == "localhost") return true;
  // Not by its first characters: 127.example.com is a name like any other.
  in_addr v4;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6;
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

std::optional<HostAndPort> ParseHostAndPort(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (host.front() == '[') {
    if (host.size() < 3 || host.back() != ']') return std::nullopt;
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return std::nullopt;
  }
  HostAndPort result;
  result.host = std::string(host);
  if (port.find_first_not_of("0123456789") != std::string_view::npos ||
      !absl::SimpleAtoi(View(port), &result.port) || result.port > 65535) {
    return std::nullopt;
  }
  return result;
}

std::optional<absl::Time> ParseTimeText(const std::string& text, absl::Time now) {
  absl::Time time;
  std::string error;
  if (absl::ParseTime(absl::RFC3339_full, text, &time, &error) && time != absl::InfiniteFuture() &&
      time != absl::InfinitePast()) {
    return time;
  }
  if (const std::optional<absl::Duration> ago = ParseDurationText(text)) return now - *ago;
  return std::nullopt;
}

std::optional<HeaderFile> ParseHeaderFileText(const std::string& text) {
  const size_t equals = text.find_first_of(":=");
  if (equals == std::string::npos || equals == 0 || text.compare(equals, 2, "=@") != 0 ||
      equals + 2 == text.size()) {
    return std::nullopt;
  }
  return HeaderFile{text.substr(0, equals), text.substr(equals + 2)};
}

std::optional<v1::Header> ParseHeaderText(const std::string& text) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos || colon == 0) return std::nullopt;
  v1::Header header;
  header.set_name(text.substr(0, colon));
  header.set_value(
      std::string(absl::StripAsciiWhitespace(absl::string_view(text).substr(colon + 1))));
  return header;
}

std::optional<v1::DeliveryState> ParseStateText(const std::string& text) {
  v1::DeliveryState state;
  const std::string name = absl::StrCat("DELIVERY_STATE_", absl::AsciiStrToUpper(text));
  if (!v1::DeliveryState_Parse(name, &state) || state == v1::DELIVERY_STATE_UNSPECIFIED) {
    return std::nullopt;
  }
  return state;
}

std::string StateText(v1::DeliveryState state) {
  const std::string name = v1::DeliveryState_Name(state);
  const size_t prefix = std::strlen("DELIVERY_STATE_");
  return name.size() > prefix ? absl::AsciiStrToLower(name.substr(prefix)) : "unknown";
}

std::optional<std::string> ReadInput(const std::string& path, std::string* content) {
  const bool standard_input = path == "-";
  const std::string shown = standard_input ? "standard input" : path;
  const std::unique_ptr<FILE, int (*)(FILE*)> file(
      standard_input ? stdin : std::fopen(path.c_str(), "rb"),
      standard_input ? [](FILE*) { return 0; } : std::fclose);
  if (file == nullptr) {
    return absl::StrCat(shown, " cannot be read: ", std::strerror(errno));
  }
  content->clear();
  char buffer[1 << 16];
  while (const size_t read = std::fread(buffer, 1, sizeof(buffer), file.get())) {
    content->append(buffer, read);
    if (content->size() > kMaxInputBytes) {
      return absl::StrCat(shown, " is larger than 64 MiB: no notification may be");
    }
  }
  if (std::ferror(file.get()) != 0) {
    return absl::StrCat(shown, " cannot be read: ", std::strerror(errno));
  }
  return std::nullopt;
}

std::optional<std::string> ReadArgument(const std::string& argument, std::string* content) {
  if (argument == "-") return ReadInput(argument, content);
  if (absl::StartsWith(argument, "@")) return ReadInput(argument.substr(1), content);
  *content = argument;
  return std::nullopt;
}

}  // namespace postrider
