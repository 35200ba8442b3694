#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "postrider/v1/delivery_service.pb.h"
#include "postrider/v1/webhook_service.pb.h"
#include "src/base/durations.h"

namespace postrider {

// How what is typed is read. Each function gives nothing for what it cannot read, or the sentence
// that says why.

// `127.0.0.1:7411`, `[::1]:7411`, `localhost:0`.
struct HostAndPort {
  // Without brackets.
  std::string host;
  int port = 0;

  // The host is 127.0.0.0/8, ::1 or `localhost`.
  bool IsLoopback() const;
};
std::optional<HostAndPort> ParseHostAndPort(std::string_view text);

// A time as RFC 3339 has it, or a duration: so long before `now`.
std::optional<absl::Time> ParseTimeText(const std::string& text, absl::Time now);

// `Name: value`, with the blanks around the value left out. Whether name and value are allowed is
// the server's to say.
std::optional<v1::Header> ParseHeaderText(const std::string& text);

// `Name=@FILE`: the value is in the file, or in standard input for `-`.
struct HeaderFile {
  std::string name;
  std::string path;
};
std::optional<HeaderFile> ParseHeaderFileText(const std::string& text);

// `pending`, `delivered`, `dead` or `cancelled`.
std::optional<v1::DeliveryState> ParseStateText(const std::string& text);
// The same way back.
std::string StateText(v1::DeliveryState state);

// The whole of the file, or of standard input for `-`. Returns what went wrong.
std::optional<std::string> ReadInput(const std::string& path, std::string* content);

// Text as it is, the content of FILE for `@FILE`, and of standard input for `-`. Returns what went
// wrong.
std::optional<std::string> ReadArgument(const std::string& argument, std::string* content);

}  // namespace postrider
