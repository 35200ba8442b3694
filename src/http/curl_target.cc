#include "src/http/curl_target.h"

#include <cstdlib>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace postrider {
namespace {

std::string UrlPart(CURLU* url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, CURLU_DEFAULT_PORT) != CURLUE_OK) return "";
  std::string result(text);
  curl_free(text);
  return result;
}

}  // namespace

void SetHeaderLine(const std::string& name, const std::string& value, std::string* line) {
  line->assign(name);
  if (absl::StripAsciiWhitespace(value).empty()) {
    *line += ';';
  } else {
    *line += ": ";
    *line += value;
  }
}

CurlTarget::CurlTarget(std::shared_ptr<const HttpTarget> http_target)
    : target(std::move(http_target)), url(curl_url()) {
  if (url == nullptr) std::abort();  // out of memory
  // The path goes out as it was configured, dots and all.
  if (curl_url_set(url.get(), CURLUPART_URL, target->url.c_str(), CURLU_PATH_AS_IS) == CURLUE_OK) {
    const std::string bracketed = UrlPart(url.get(), CURLUPART_HOST);
    host_and_port = absl::StrCat(bracketed, ":", UrlPart(url.get(), CURLUPART_PORT));
    host = std::string(absl::StripSuffix(absl::StripPrefix(bracketed, "["), "]"));
    port = static_cast<uint16_t>(std::atoi(UrlPart(url.get(), CURLUPART_PORT).c_str()));
    host_hash = absl::HashOf(host_and_port);
    https = UrlPart(url.get(), CURLUPART_SCHEME) == "https";
  }
  lines_.reserve(target->headers.size());
  nodes_.reserve(target->headers.size());
  for (const HttpHeader& header : target->headers) {
    gives_content_type |= absl::EqualsIgnoreCase(header.name, "Content-Type");
    gives_accept |= absl::EqualsIgnoreCase(header.name, "Accept");
    SetHeaderLine(header.name, header.value, &lines_.emplace_back());
    nodes_.push_back({lines_.back().data(), nullptr});
    if (nodes_.size() > 1) nodes_[nodes_.size() - 2].next = &nodes_.back();
  }
  if (!nodes_.empty()) headers = nodes_.data();
  // The URL has the host, which a request has once.
  bytes = target->url.size();
  for (const std::string& line : lines_) bytes += line.size() + 2;
}

}  // namespace postrider
