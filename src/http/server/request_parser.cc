#include "src/http/server/request_parser.h"

#include <boost/beast/http/error.hpp>
#include <limits>
#include <string>

#include "absl/strings/match.h"

namespace postrider {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;

// The target without scheme, host and query.
std::string PathOf(std::string_view target) {
  if (!target.empty() && target.front() != '/') {
    const size_t host = target.find("://");
    if (host != std::string_view::npos) {
      const size_t slash = target.find_first_of("/?", host + 3);
      target = slash == std::string_view::npos ? "" : target.substr(slash);
      if (target.empty() || target.front() == '?') return "/";
    }
  }
  return std::string(target.substr(0, target.find('?')));
}

}  // namespace

RequestParser::RequestParser(const Limits& limits, HttpRequest* request)
    : limits_(limits), request_(request) {
  header_limit(static_cast<uint32_t>(limits.max_header_bytes));
  // Ours counts. To leave it away means 0 to Boost 1.74.
  body_limit(std::numeric_limits<uint64_t>::max());
}

RequestParser::State RequestParser::Put(std::string_view bytes, size_t* taken) {
  *taken = 0;
  if (is_done()) return State::kDone;
  if (bytes.empty()) return State::kMore;
  Error error;
  *taken = put(boost::asio::buffer(bytes.data(), bytes.size()), error);
  if (error == http::error::need_more) {
    // Lines that do not end, of chunks as well as of headers.
    if (bytes.size() - *taken <= limits_.max_header_bytes) return State::kMore;
    status_ = 431;
    return State::kBad;
  }
  if (error) {
    if (error == http::error::header_limit) status_ = 431;
    if (error == http::error::bad_version) status_ = 505;
    return State::kBad;
  }
  if (is_header_done() && !header_told_) {
    header_told_ = true;
    return State::kHeader;
  }
  return is_done() ? State::kDone : State::kMore;
}

void RequestParser::Refuse(int status, Error* error) {
  status_ = status;
  *error = http::error::bad_value;
}

bool RequestParser::CountHeader(size_t bytes, Error* error) {
  header_bytes_ += bytes;
  if (header_bytes_ <= limits_.max_header_bytes && headers_ <= limits_.max_headers) return true;
  Refuse(431, error);
  return false;
}

void RequestParser::on_request_impl(http::verb /*verb*/, View method, View target, int /*version*/,
                                    Error& error) {
  if (!CountHeader(method.size() + target.size() + 12, &error)) return;
  request_->method.assign(method.data(), method.size());
  request_->target.assign(target.data(), target.size());
  request_->path = PathOf(request_->target);
}

void RequestParser::on_response_impl(int /*code*/, View /*reason*/, int /*version*/,
                                     Error& /*error*/) {}

void RequestParser::on_field_impl(http::field name, View name_text, View value, Error& error) {
  ++headers_;
  if (!CountHeader(name_text.size() + value.size() + 4, &error)) return;
  // A trailer says nothing that we ask for, and must not pass for a header.
  if (header_told_) return;
  if (name == http::field::host) {
    // Two hosts are two meanings (RFC 9112, 3.2).
    if (host_seen_) return Refuse(400, &error);
    host_seen_ = true;
  }
  const absl::string_view text(value.data(), value.size());
  // Beast takes any other one for no body, and the body for the next request.
  if (name == http::field::transfer_encoding && !absl::EqualsIgnoreCase(text, "chunked")) {
    return Refuse(501, &error);
  }
  if (name == http::field::expect) {
    expects_continue_ = absl::EqualsIgnoreCase(text, "100-continue");
    if (!expects_continue_) return Refuse(417, &error);
  }
  request_->headers.emplace_back(std::string(name_text.data(), name_text.size()),
                                 std::string(value.data(), value.size()));
}

void RequestParser::on_header_impl(Error& /*error*/) {}

void RequestParser::on_body_init_impl(boost::optional<uint64_t> const& /*length*/,
                                      Error& /*error*/) {}

size_t RequestParser::on_body_impl(View body, Error& error) {
  if (body.size() > max_body_bytes_ - request_->body.size()) {
    Refuse(413, &error);
    return 0;
  }
  request_->body.append(body.data(), body.size());
  return body.size();
}

void RequestParser::on_chunk_header_impl(uint64_t size, View /*extensions*/, Error& error) {
  if (size > max_body_bytes_ - request_->body.size()) Refuse(413, &error);
}

size_t RequestParser::on_chunk_body_impl(uint64_t /*remain*/, View body, Error& error) {
  return on_body_impl(body, error);
}

void RequestParser::on_finish_impl(Error& /*error*/) {}

}  // namespace postrider
