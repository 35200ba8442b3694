#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"

namespace postrider {

struct HttpHeader {
  std::string name;
  std::string value;

  bool operator==(const HttpHeader&) const = default;
};

// What all requests to one receiver have in common, made once and shared: a transport may keep what
// it derives from it for as long as the target lives. Immutable.
struct HttpTarget {
  // http or https.
  std::string url;
  // Sent as they are, after the request's own headers.
  std::vector<HttpHeader> headers;
  // From the start of the request to the end of the answer, connecting included.
  absl::Duration timeout = absl::Seconds(15);
};

struct TransferRequest {
  std::shared_ptr<const HttpTarget> target;
  // Those of this request alone; sent first.
  std::vector<HttpHeader> headers;
  // On whose behalf, such as a tenant's number: what is shared is shared by these.
  uint64_t share = 0;
  // Sent by POST.
  std::shared_ptr<const std::string> body;
  // How much of the answer's body is kept.
  size_t max_response_bytes = 4096;
  // Fill in TransferResult's sent_headers and response_headers: for a person who looks on. A name
  // is asked again then, also when it is remembered that it has no address.
  bool capture = false;
};

enum class TransferError {
  kNone,            // there was an answer
  kBlockedAddress,  // the address policy refuses every address of the host
  kResolve,         // the host has no address
  kConnect,
  kTls,
  kTimeout,
  kConnectionLost,  // broken off before the answer was whole
  kBadAnswer,       // what came back is not HTTP
  kNoResources,     // a want of our own, such as sockets: nothing to do with the receiver
  kCancelled,       // nobody waits for it any more, or the transport was stopped
};

// What came of a transfer. A receiver's 500 is an answer, not an error.
struct TransferResult {
  TransferError error = TransferError::kNone;
  // A sentence that says what went wrong and what to do about it; empty with kNone.
  std::string message;
  // 0 when there was no answer.
  int http_status = 0;
  // The beginning of the answer's body, undecoded.
  std::string body;
  bool body_truncated = false;
  // The value of the answer's Retry-After, empty without one.
  std::string retry_after;
  absl::Duration latency;
  // With `capture` only: in the order they went over the wire.
  std::vector<HttpHeader> sent_headers;
  std::vector<HttpHeader> response_headers;
};

// Sends HTTP requests. Redirects are not followed, no proxy is used, nothing is retried, except
// that a request whose reused connection turned out to be dead before anything came back is sent
// once more on a fresh one.
//
// Owned and called by one thread.
class Transport {
 public:
  using Done = absl::AnyInvocable<void(TransferResult) &&>;

  virtual ~Transport() = default;

  // Starts the request. `done` is called exactly once, on the owning thread, never inside Send.
  // There is no queue: the caller bounds how many are under way.
  virtual void Send(TransferRequest request, Done done) = 0;

  // Breaks off what is under way to this very target: each `done` is called with kCancelled, soon,
  // or before this returns. Takes time by what is under way to all.
  virtual void Cancel(const HttpTarget& target) = 0;

  // Breaks off all that is under way: each `done` is called with kCancelled before this returns.
  // REQUIRES: none of them sends.
  virtual void CancelAll() = 0;
};

}  // namespace postrider
