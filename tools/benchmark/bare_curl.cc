#include "tools/benchmark/bare_curl.h"

#include <curl/curl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <memory>

#include "absl/strings/str_cat.h"
#include "tools/benchmark/environment.h"
#include "tools/benchmark/message.h"

namespace postrider::bench {
namespace {

constexpr int kMaxEvents = 256;
constexpr long kMaxConnections = 4096;
constexpr int kWindows[] = {8, 16, 32, 64, 128, 256};

void Check(CURLMcode code) {
  if (code != CURLM_OK) Fail(absl::StrCat("libcurl: ", curl_multi_strerror(code)));
}

size_t Discard(char*, size_t size, size_t count, void*) { return size * count; }

struct ListDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using ListPtr = std::unique_ptr<curl_slist, ListDeleter>;

ListPtr MakeHeaders() {
  curl_slist* list = nullptr;
  for (const auto& [name, value] : DeliveryHeaders()) {
    list = curl_slist_append(list, absl::StrCat(name, ": ", value).c_str());
  }
  for (const char* absent : {"Accept:", "Expect:"}) list = curl_slist_append(list, absent);
  return ListPtr(list);
}

struct EasyDeleter {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
using EasyPtr = std::unique_ptr<CURL, EasyDeleter>;

EasyPtr MakeEasy(const std::string& url, curl_slist* headers, const std::string& body) {
  EasyPtr easy(curl_easy_init());
  curl_easy_setopt(easy.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy.get(), CURLOPT_NOSIGNAL, 1L);
  // What spares libcurl work for each request; a small buffer, since the answers are short.
  curl_easy_setopt(easy.get(), CURLOPT_PROXY, "");
  curl_easy_setopt(easy.get(), CURLOPT_NOPROXY, "*");
  curl_easy_setopt(easy.get(), CURLOPT_DNS_CACHE_TIMEOUT, 0L);
  curl_easy_setopt(easy.get(), CURLOPT_BUFFERSIZE, 4096L);
  curl_easy_setopt(easy.get(), CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(easy.get(), CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(easy.get(), CURLOPT_POST, 1L);
  curl_easy_setopt(easy.get(), CURLOPT_POSTFIELDS, body.data());
  curl_easy_setopt(easy.get(), CURLOPT_POSTFIELDSIZE, static_cast<long>(body.size()));
  curl_easy_setopt(easy.get(), CURLOPT_WRITEFUNCTION, &Discard);
  return easy;
}

// A multi on an epoll. A descriptor stays registered between requests, since the next one on its
// connection would only register it again.
class Loop {
 public:
  Loop(const std::vector<std::string>& urls, int window);
  ~Loop();

  void Run(int64_t requests);

 private:
  static int OnSocket(CURL*, curl_socket_t fd, int what, void* self, void*);
  static int OnTimer(CURLM*, long timeout_ms, void* self);
  static int OnClose(void* self, curl_socket_t fd);

  void Register(int fd, uint32_t events);
  void SendNext();
  bool TimerIsDue() const;
  void RunTimer();
  void WaitForSockets();
  void TakeAnswers();

  const int window_;
  const int epoll_fd_;
  CURLM* const multi_;
  const ListPtr headers_;
  const std::string body_;
  std::vector<EasyPtr> handles_;
  std::deque<CURL*> idle_;
  // By descriptor: what the epoll knows.
  std::vector<uint32_t> registered_;
  int64_t timer_ns_ = -1;
  int64_t to_send_ = 0;
  int64_t to_answer_ = 0;
};

Loop::Loop(const std::vector<std::string>& urls, int window)
    : window_(window),
      epoll_fd_(epoll_create1(EPOLL_CLOEXEC)),
      multi_(curl_multi_init()),
      headers_(MakeHeaders()),
      body_(RenderedBody(0)) {
  Check(curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &Loop::OnSocket));
  Check(curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this));
  Check(curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &Loop::OnTimer));
  Check(curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this));
  Check(curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, kMaxConnections));
  Check(curl_multi_setopt(multi_, CURLMOPT_PIPELINING, static_cast<long>(CURLPIPE_NOTHING)));
  const size_t count = std::max(urls.size(), static_cast<size_t>(window));
  for (size_t i = 0; i < count; ++i) {
    handles_.push_back(MakeEasy(urls[i % urls.size()], headers_.get(), body_));
    curl_easy_setopt(handles_.back().get(), CURLOPT_CLOSESOCKETFUNCTION, &Loop::OnClose);
    curl_easy_setopt(handles_.back().get(), CURLOPT_CLOSESOCKETDATA, this);
    idle_.push_back(handles_.back().get());
  }
}

Loop::~Loop() {
  handles_.clear();
  curl_multi_cleanup(multi_);
  close(epoll_fd_);
}

int Loop::OnSocket(CURL*, curl_socket_t fd, int what, void* self_pointer, void*) {
  auto* const self = static_cast<Loop*>(self_pointer);
  if (what == CURL_POLL_IN) self->Register(fd, EPOLLIN);
  if (what == CURL_POLL_OUT) self->Register(fd, EPOLLOUT);
  if (what == CURL_POLL_INOUT) self->Register(fd, EPOLLIN | EPOLLOUT);
  return 0;
}

void Loop::Register(int fd, uint32_t events) {
  if (static_cast<size_t>(fd) >= registered_.size()) registered_.resize(fd + 1);
  uint32_t& known = registered_[fd];
  if (known == events) return;
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  const int operation = known == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  if (epoll_ctl(epoll_fd_, operation, fd, &event) != 0) Fail("epoll_ctl");
  known = events;
}

int Loop::OnClose(void* self_pointer, curl_socket_t fd) {
  auto* const self = static_cast<Loop*>(self_pointer);
  // The epoll forgets it with the descriptor.
  if (static_cast<size_t>(fd) < self->registered_.size()) self->registered_[fd] = 0;
  return close(fd);
}

int Loop::OnTimer(CURLM*, long timeout_ms, void* self_pointer) {
  auto* const self = static_cast<Loop*>(self_pointer);
  if (timeout_ms > 0) {
    self->timer_ns_ = NowNs() + timeout_ms * 1'000'000;
  } else {
    self->timer_ns_ = timeout_ms;
  }
  return 0;
}

void Loop::SendNext() {
  CURL* const easy = idle_.front();
  idle_.pop_front();
  --to_send_;
  Check(curl_multi_add_handle(multi_, easy));
}

bool Loop::TimerIsDue() const { return timer_ns_ == 0 || (timer_ns_ > 0 && timer_ns_ <= NowNs()); }

void Loop::RunTimer() {
  timer_ns_ = -1;
  int running = 0;
  Check(curl_multi_socket_action(multi_, CURL_SOCKET_TIMEOUT, 0, &running));
}

void Loop::WaitForSockets() {
  epoll_event events[kMaxEvents];
  const int timeout_ms =
      timer_ns_ < 0 ? -1
                    : static_cast<int>(std::max<int64_t>(0, timer_ns_ - NowNs()) / 1'000'000 + 1);
  const int count = epoll_wait(epoll_fd_, events, kMaxEvents, timeout_ms);
  if (count < 0 && errno != EINTR) Fail("epoll_wait");
  for (int i = 0; i < count; ++i) {
    int mask = 0;
    if ((events[i].events & EPOLLIN) != 0) mask |= CURL_CSELECT_IN;
    if ((events[i].events & EPOLLOUT) != 0) mask |= CURL_CSELECT_OUT;
    if ((events[i].events & (EPOLLERR | EPOLLHUP)) != 0) mask |= CURL_CSELECT_ERR;
    int running = 0;
    Check(curl_multi_socket_action(multi_, events[i].data.fd, mask, &running));
  }
}

void Loop::TakeAnswers() {
  int left = 0;
  while (const CURLMsg* const message = curl_multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    CURL* const easy = message->easy_handle;
    const CURLcode code = message->data.result;
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK || status != 200) {
      Fail(absl::StrCat("bare libcurl: ", curl_easy_strerror(code), ", status ", status));
    }
    Check(curl_multi_remove_handle(multi_, easy));
    idle_.push_back(easy);
    --to_answer_;
    if (to_send_ > 0) SendNext();
  }
}

void Loop::Run(int64_t requests) {
  to_send_ = requests;
  to_answer_ = requests;
  for (int i = 0; i < window_ && to_send_ > 0; ++i) SendNext();
  while (true) {
    // An answer can be there as soon as its request was sent: then no socket tells of it.
    while (TimerIsDue()) {
      RunTimer();
      TakeAnswers();
    }
    if (to_answer_ == 0) return;
    WaitForSockets();
    TakeAnswers();
  }
}

}  // namespace

BareCurlResult RunBareCurl(const std::vector<std::string>& urls, int window, int64_t requests) {
  Loop loop(urls, window);
  const int64_t start_ns = NowNs();
  const int64_t start_cpu_ns = ThreadCpuNs();
  loop.Run(requests);
  const auto count = static_cast<double>(requests);
  BareCurlResult result;
  result.window = window;
  result.cpu_us_per_request = static_cast<double>(ThreadCpuNs() - start_cpu_ns) / 1e3 / count;
  result.requests_per_second = count * 1e9 / static_cast<double>(NowNs() - start_ns);
  return result;
}

int FindBestWindow(const std::vector<std::string>& urls, int64_t requests) {
  BareCurlResult best;
  for (const int window : kWindows) {
    const BareCurlResult result = RunBareCurl(urls, window, requests);
    if (result.requests_per_second > best.requests_per_second) best = result;
  }
  return best.window;
}

std::vector<int64_t> BareHttpRoundTrips(const std::string& url,
                                        const std::vector<int64_t>& times_ns) {
  const ListPtr headers = MakeHeaders();
  const std::string body = RenderedBody(0);
  const EasyPtr easy = MakeEasy(url, headers.get(), body);
  // The first one connects.
  if (curl_easy_perform(easy.get()) != CURLE_OK) Fail("the bare HTTP round trip");
  std::vector<int64_t> took_ns;
  for (const int64_t time_ns : times_ns) {
    SleepUntilNs(time_ns);
    const int64_t sent_ns = NowNs();
    if (curl_easy_perform(easy.get()) != CURLE_OK) Fail("the bare HTTP round trip");
    took_ns.push_back(NowNs() - sent_ns);
  }
  std::sort(took_ns.begin(), took_ns.end());
  return took_ns;
}

}  // namespace postrider::bench
