#include "src/http/server/http_message.h"

#include <boost/beast/http/status.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace postrider {

std::optional<std::string_view> HttpRequest::Header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (absl::EqualsIgnoreCase(key, absl::string_view(name.data(), name.size()))) return value;
  }
  return std::nullopt;
}

HttpResponse TextResponse(int status, std::string_view line) {
  HttpResponse response;
  response.status = status;
  response.body = absl::StrCat(absl::string_view(line.data(), line.size()), "\n");
  return response;
}

std::string ResponseHead(const HttpResponse& response, bool keep_alive) {
  const boost::beast::string_view reason = boost::beast::http::obsolete_reason(
      boost::beast::http::int_to_status(static_cast<unsigned>(response.status)));
  std::string head =
      absl::StrCat("HTTP/1.1 ", response.status, " ", std::string(reason.data(), reason.size()),
                   "\r\nDate: ",
                   absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", absl::Now(), absl::UTCTimeZone()),
                   "\r\n");
  // Neither has a body, nor a word on its length (RFC 9110, 8.6).
  if (response.status != 204 && response.status != 304) {
    absl::StrAppend(&head, "Content-Length: ", response.body.size(), "\r\n");
    if (!response.content_type.empty()) {
      absl::StrAppend(&head, "Content-Type: ", response.content_type, "\r\n");
    }
  }
  for (const auto& [name, value] : response.headers) {
    absl::StrAppend(&head, name, ": ", value, "\r\n");
  }
  absl::StrAppend(&head, "Connection: ", keep_alive ? "keep-alive" : "close", "\r\n\r\n");
  return head;
}

}  // namespace postrider
