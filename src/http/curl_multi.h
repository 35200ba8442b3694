#pragma once

#include <curl/curl.h>

#include <cstddef>
#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "src/base/clock.h"
#include "src/http/event_loop.h"

namespace postrider {

// One multi handle of libcurl's, driven by the loop's epoll: transfers that share connections.
//
// Everything belongs to the loop's thread. Loop and clock must outlive it, and it its transfers.
class CurlMulti final : private EventLoop::Watcher {
 public:
  CurlMulti(EventLoop& loop, const Clock& clock, size_t max_kept_connections);
  // REQUIRES: no transfer is in it.
  ~CurlMulti() override;
  CurlMulti(const CurlMulti&) = delete;
  CurlMulti& operator=(const CurlMulti&) = delete;

  void Add(CURL* easy);
  // Also of a transfer that is done, before it is added again.
  void Remove(CURL* easy);

  // When RunTimer wants to be called (Clock::Monotonic).
  absl::Duration deadline() const { return deadline_; }
  void RunTimer();
  // Calls `done` for each transfer that has ended since. It may add and remove transfers.
  void TakeDone(absl::FunctionRef<void(CURL* easy, CURLcode code)> done);

 private:
  static int OnSocket(CURL*, curl_socket_t fd, int what, void* self, void*);
  static int OnTimer(CURLM*, long timeout_ms, void* self);

  void OnReady(int fd, uint32_t events) override;
  void Act(curl_socket_t fd, int events);

  EventLoop& loop_;
  const Clock& clock_;
  CURLM* const multi_;
  absl::Duration deadline_ = absl::InfiniteDuration();
  // libcurl was called, so transfers may have ended.
  bool acted_ = false;
};

}  // namespace postrider
