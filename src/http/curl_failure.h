#pragma once

#include <curl/curl.h>
#include <sys/socket.h>

#include <string>

#include "absl/status/status.h"
#include "src/http/transport.h"

namespace postrider {

// All that is known of a transfer that brought no answer.
struct CurlFailure {
  CURLcode code = CURLE_OK;
  // What libcurl says of it.
  std::string detail;
  // Host and port of the URL.
  std::string peer;
  // Why the address policy refused; OK when it did not.
  absl::Status refusal;
  // Why no socket could be opened, and why none could be connected; 0 when they could.
  int open_errno = 0;
  int connect_errno = 0;
  // Where to the last socket was to be connected; AF_UNSPEC when none was opened.
  sockaddr_storage address{};
  socklen_t address_size = 0;
  // The URL begins with http://.
  bool plain = false;
  bool opened_connection = false;
  // A connection was there, TLS included, so that the request may have gone out.
  bool began_request = false;
  // Something of the answer's body has come.
  bool began_body = false;
  bool headers_too_large = false;
  // The connection was opened for this request, the peer asked for a client certificate in its
  // handshake, and nothing of an answer has come.
  bool asked_for_certificate = false;
  // What came was said before the request had reached the peer.
  bool unasked = false;
  // The beginning of what came instead of an HTTP answer.
  std::string first_bytes;
  double seconds = 0;
};

// How many bytes of what is no HTTP it takes to know what else it is.
inline constexpr size_t kTellingBytes = 16;

// What is kept of headers, in all and of one line: libcurl's own bound for a line.
inline constexpr size_t kMaxHeaderBytes = size_t{256} << 10;
inline constexpr size_t kMaxHeaderLineBytes = size_t{100} << 10;

// What went wrong, and a sentence that says so and what to do about it. May open descriptors for a
// moment, to see whether there are any.
TransferError Explain(const CurlFailure& failure, std::string* sentence);

}  // namespace postrider
