#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace postrider {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

// A request, whole, as it came over the wire.
struct HttpRequest {
  std::string method;
  // With the query.
  std::string target;
  // The target up to its query. Nothing is decoded.
  std::string path;
  // In the order and spelling of the wire.
  HttpHeaders headers;
  std::string body;
  // The other side's address, without its port.
  std::string peer;

  // Of the first header of that name, in whatever case.
  std::optional<std::string_view> Header(std::string_view name) const;
};

// What it is answered with. The server adds Content-Length, Date and Connection.
struct HttpResponse {
  int status = 200;
  std::string body;
  std::string content_type = "text/plain";
  HttpHeaders headers;
};

// A plain answer of one line.
HttpResponse TextResponse(int status, std::string_view line);

// `response` as it goes over the wire, without its body.
std::string ResponseHead(const HttpResponse& response, bool keep_alive);

}  // namespace postrider
