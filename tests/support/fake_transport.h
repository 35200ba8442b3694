#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "src/http/transport.h"

namespace postrider {

// A transport that sends nothing: it remembers every request, numbered from 0 in the order of
// sending, and the test answers each when it likes. Used by one thread, like any transport.
class FakeTransport final : public Transport {
 public:
  ~FakeTransport() override;

  void Send(TransferRequest request, Done done) override;
  void Cancel(const HttpTarget& target) override;
  void CancelAll() override;

  // How many were sent in all.
  size_t sent() const { return exchanges_.size(); }
  // REQUIRES of all that follow: i < sent().
  const TransferRequest& request(size_t i) const;
  // The value of the request's header, its own or the target's; empty without one.
  std::string_view header(size_t i, const std::string& name) const;
  bool pending(size_t i) const;

  // The unanswered ones, the oldest first.
  std::vector<size_t> Pending() const;
  size_t pending_count() const { return pending_count_; }

  // Answers a request by calling its `done` before it returns. REQUIRES: pending(i).
  void Answer(size_t i, TransferResult result);
  // There is an answer with this status, a receiver's refusal too.
  void Succeed(size_t i, int http_status = 200, absl::Duration latency = absl::Milliseconds(5));
  // There is no answer. REQUIRES: error is not kNone.
  void Fail(size_t i, TransferError error = TransferError::kConnect,
            std::string message = "cannot connect");
  // Answers all that is pending now with this status.
  void SucceedAll(int http_status = 200);

 private:
  struct Exchange {
    TransferRequest request;
    Done done;  // empty once called
  };

  std::deque<Exchange> exchanges_;
  size_t pending_count_ = 0;
  // All before were answered.
  mutable size_t first_pending_ = 0;
};

}  // namespace postrider
