#include "tests/support/fake_transport.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/strings/match.h"

namespace postrider {
namespace {

void Check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "FakeTransport: %s\n", what);
  std::abort();
}

}  // namespace

FakeTransport::~FakeTransport() {
  // Every `done` is called exactly once: who destroys a transport has called CancelAll.
  Check(pending_count_ == 0, "destroyed with requests under way; call CancelAll first");
}

void FakeTransport::Send(TransferRequest request, Done done) {
  Check(request.target != nullptr, "a request without a target");
  Check(request.body != nullptr, "a request without a body");
  exchanges_.push_back({std::move(request), std::move(done)});
  ++pending_count_;
}

void FakeTransport::Cancel(const HttpTarget& target) {
  for (size_t i = 0; i < exchanges_.size(); ++i) {
    if (pending(i) && request(i).target.get() == &target) {
      Fail(i, TransferError::kCancelled, "nobody waits for it any more");
    }
  }
}

void FakeTransport::CancelAll() {
  // What a `done` sends meanwhile is broken off too.
  for (size_t i = 0; i < exchanges_.size(); ++i) {
    if (pending(i)) Fail(i, TransferError::kCancelled, "the transport was stopped");
  }
}

const TransferRequest& FakeTransport::request(size_t i) const {
  Check(i < exchanges_.size(), "no request of this number");
  return exchanges_[i].request;
}

std::string_view FakeTransport::header(size_t i, const std::string& name) const {
  for (const HttpHeader& h : request(i).headers) {
    if (absl::EqualsIgnoreCase(h.name, name)) return h.value;
  }
  for (const HttpHeader& h : request(i).target->headers) {
    if (absl::EqualsIgnoreCase(h.name, name)) return h.value;
  }
  return {};
}

bool FakeTransport::pending(size_t i) const {
  Check(i < exchanges_.size(), "no request of this number");
  return exchanges_[i].done != nullptr;
}

std::vector<size_t> FakeTransport::Pending() const {
  // A test of days sends many, and nearly all of them are answered.
  while (first_pending_ < exchanges_.size() && !pending(first_pending_)) ++first_pending_;
  std::vector<size_t> numbers;
  for (size_t i = first_pending_; i < exchanges_.size(); ++i) {
    if (pending(i)) numbers.push_back(i);
  }
  return numbers;
}

void FakeTransport::Answer(size_t i, TransferResult result) {
  Check(pending(i), "the request was answered before");
  Done done = std::exchange(exchanges_[i].done, nullptr);
  --pending_count_;
  std::move(done)(std::move(result));
}

void FakeTransport::Succeed(size_t i, int http_status, absl::Duration latency) {
  TransferResult result;
  result.http_status = http_status;
  result.latency = latency;
  Answer(i, std::move(result));
}

void FakeTransport::Fail(size_t i, TransferError error, std::string message) {
  Check(error != TransferError::kNone, "a failure needs an error");
  TransferResult result;
  result.error = error;
  result.message = std::move(message);
  Answer(i, std::move(result));
}

void FakeTransport::SucceedAll(int http_status) {
  for (const size_t i : Pending()) Succeed(i, http_status);
}

}  // namespace postrider
