#include "src/http/curl_multi.h"

#include <sys/epoll.h>

#include <cstdio>
#include <cstdlib>

namespace postrider {
namespace {

void Require(CURLMcode code) {
  if (code == CURLM_OK) return;
  std::fprintf(stderr, "libcurl's multi interface refuses a call: %s\n", curl_multi_strerror(code));
  std::abort();
}

}  // namespace

CurlMulti::CurlMulti(EventLoop& loop, const Clock& clock, size_t max_kept_connections)
    : loop_(loop), clock_(clock), multi_(curl_multi_init()) {
  if (multi_ == nullptr) std::abort();  // out of memory
  Require(curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &CurlMulti::OnSocket));
  Require(curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this));
  Require(curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &CurlMulti::OnTimer));
  Require(curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this));
  Require(curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, static_cast<long>(max_kept_connections)));
  Require(curl_multi_setopt(multi_, CURLMOPT_PIPELINING, static_cast<long>(CURLPIPE_NOTHING)));
}

CurlMulti::~CurlMulti() { Require(curl_multi_cleanup(multi_)); }

void CurlMulti::Add(CURL* easy) { Require(curl_multi_add_handle(multi_, easy)); }
void CurlMulti::Remove(CURL* easy) { Require(curl_multi_remove_handle(multi_, easy)); }

int CurlMulti::OnSocket(CURL*, curl_socket_t fd, int what, void* self_pointer, void*) {
  auto* const self = static_cast<CurlMulti*>(self_pointer);
  switch (what) {
    case CURL_POLL_REMOVE:
      self->loop_.Pause(fd);
      break;
    case CURL_POLL_IN:
      self->loop_.Watch(fd, EPOLLIN, self);
      break;
    case CURL_POLL_OUT:
      self->loop_.Watch(fd, EPOLLOUT, self);
      break;
    case CURL_POLL_INOUT:
      self->loop_.Watch(fd, EPOLLIN | EPOLLOUT, self);
      break;
    default:
      break;
  }
  return 0;
}

int CurlMulti::OnTimer(CURLM*, long timeout_ms, void* self_pointer) {
  auto* const self = static_cast<CurlMulti*>(self_pointer);
  self->deadline_ = timeout_ms < 0 ? absl::InfiniteDuration()
                                   : self->clock_.Monotonic() + absl::Milliseconds(timeout_ms);
  return 0;
}

void CurlMulti::OnReady(int fd, uint32_t events) {
  int mask = 0;
  if ((events & EPOLLIN) != 0) mask |= CURL_CSELECT_IN;
  if ((events & EPOLLOUT) != 0) mask |= CURL_CSELECT_OUT;
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) mask |= CURL_CSELECT_ERR;
  Act(fd, mask);
}

void CurlMulti::RunTimer() {
  deadline_ = absl::InfiniteDuration();
  Act(CURL_SOCKET_TIMEOUT, 0);
}

void CurlMulti::Act(curl_socket_t fd, int events) {
  acted_ = true;
  int running = 0;
  Require(curl_multi_socket_action(multi_, fd, events, &running));
}

void CurlMulti::TakeDone(absl::FunctionRef<void(CURL* easy, CURLcode code)> done) {
  if (!acted_) return;
  acted_ = false;
  int left = 0;
  while (const CURLMsg* const message = curl_multi_info_read(multi_, &left)) {
    // The message is gone when its handle is removed.
    if (message->msg == CURLMSG_DONE) done(message->easy_handle, message->data.result);
  }
}

}  // namespace postrider
