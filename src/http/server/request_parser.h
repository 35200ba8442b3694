#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "src/http/server/http_message.h"

namespace postrider {

// Reads one request from bytes as they come, with Beast's grammar, into an HttpRequest. What it
// holds is bounded: header lines in number and in bytes (trailers count), and the body.
//
// Belongs to one thread.
class RequestParser : private boost::beast::http::basic_parser<true> {
 public:
  struct Limits {
    size_t max_headers = 100;
    // Of the request line and all header lines.
    size_t max_header_bytes = size_t{16} << 10;
  };

  enum class State {
    // The bytes are used up.
    kMore,
    // The headers are complete; whether there is a body is told by has_body. Comes once.
    kHeader,
    kDone,
    // status() says why.
    kBad,
  };

  RequestParser(const Limits& limits, HttpRequest* request);

  // Takes from the front of `bytes` and says how many it took. After kHeader, SetBodyLimit comes
  // first.
  State Put(std::string_view bytes, size_t* taken);
  void SetBodyLimit(uint64_t bytes) { max_body_bytes_ = bytes; }

  // What to answer after kBad.
  int status() const { return status_; }
  // After kHeader.
  bool has_body() const { return !is_done(); }
  bool keeps_alive() const { return keep_alive(); }
  // The client waits for a word before it sends the body.
  bool expects_continue() const { return expects_continue_; }
  // More than the body's limit is announced.
  bool too_long(uint64_t limit) const { return content_length() && *content_length() > limit; }

 private:
  using Error = boost::beast::error_code;
  using View = boost::beast::string_view;

  void on_request_impl(boost::beast::http::verb verb, View method, View target, int version,
                       Error& error) override;
  void on_response_impl(int code, View reason, int version, Error& error) override;
  void on_field_impl(boost::beast::http::field name, View name_text, View value,
                     Error& error) override;
  void on_header_impl(Error& error) override;
  void on_body_init_impl(boost::optional<uint64_t> const& length, Error& error) override;
  size_t on_body_impl(View body, Error& error) override;
  void on_chunk_header_impl(uint64_t size, View extensions, Error& error) override;
  size_t on_chunk_body_impl(uint64_t remain, View body, Error& error) override;
  void on_finish_impl(Error& error) override;

  // Ends the parsing.
  void Refuse(int status, Error* error);
  bool CountHeader(size_t bytes, Error* error);

  const Limits limits_;
  HttpRequest* const request_;
  uint64_t max_body_bytes_ = 0;
  size_t headers_ = 0;
  size_t header_bytes_ = 0;
  bool host_seen_ = false;
  bool expects_continue_ = false;
  bool header_told_ = false;
  int status_ = 400;
};

}  // namespace postrider
