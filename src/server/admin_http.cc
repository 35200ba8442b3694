#include "src/server/admin_http.h"

#include <httplib.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "src/base/mutex.h"
#include "src/server/metrics_page.h"

namespace postrider {
namespace {

constexpr int kThreads = 2;
constexpr size_t kMaxWaiting = 16;
constexpr int kTimeoutSeconds = 5;

// httplib's own pool has a queue without a bound. Here the accepting thread waits for room.
class BoundedPool final : public httplib::TaskQueue {
 public:
  BoundedPool() {
    for (int i = 0; i < kThreads; ++i) threads_.emplace_back([this] { Work(); });
  }

  void enqueue(std::function<void()> task) override {
    MutexLock lock(&mutex_);
    while (tasks_.size() >= kMaxWaiting && !stopped_) room_.Wait(&mutex_);
    tasks_.push_back(std::move(task));
    some_.Signal();
  }

  void shutdown() override {
    {
      MutexLock lock(&mutex_);
      stopped_ = true;
      some_.SignalAll();
      room_.SignalAll();
    }
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  // Does what is left before it ends: each task closes its connection.
  void Work() {
    for (;;) {
      std::function<void()> task;
      {
        MutexLock lock(&mutex_);
        while (tasks_.empty() && !stopped_) some_.Wait(&mutex_);
        if (tasks_.empty()) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
        room_.Signal();
      }
      task();
    }
  }

  Mutex mutex_;
  CondVar some_;
  CondVar room_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace

struct AdminHttp::Impl {
  httplib::Server server;
  Pages pages;
  std::thread thread;
};

absl::StatusOr<std::unique_ptr<AdminHttp>> AdminHttp::Start(const HostPort& address, Pages pages) {
  auto impl = std::make_unique<Impl>();
  impl->pages = std::move(pages);
  httplib::Server& server = impl->server;
  server.new_task_queue = [] { return new BoundedPool(); };
  server.set_keep_alive_max_count(100);
  server.set_keep_alive_timeout(1);
  server.set_read_timeout(kTimeoutSeconds);
  server.set_write_timeout(kTimeoutSeconds);
  server.set_payload_max_length(1024);
  // Without SO_REUSEPORT, which httplib sets by default: two servers would share the port.
  server.set_socket_options([](int socket) {
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  });

  const Pages& shown = impl->pages;
  server.Get("/metrics", [&shown](const httplib::Request&, httplib::Response& response) {
    response.set_content(shown.metrics(), MetricsPage::kContentType);
  });
  server.Get("/healthz", [](const httplib::Request&, httplib::Response& response) {
    response.set_content("ok\n", "text/plain");
  });
  server.Get("/readyz", [&shown](const httplib::Request&, httplib::Response& response) {
    const bool ready = shown.ready();
    response.status = ready ? 200 : 503;
    response.set_content(ready ? "ready\n" : "not ready\n", "text/plain");
  });

  HostPort bound = address;
  errno = 0;
  if (address.port == 0) {
    bound.port = server.bind_to_any_port(address.host.c_str());
  } else if (!server.bind_to_port(address.host.c_str(), address.port)) {
    bound.port = -1;
  }
  if (bound.port <= 0) {
    const std::string why = errno != 0 ? absl::StrCat(" (", std::strerror(errno), ")") : "";
    return absl::UnavailableError(absl::StrCat("--http-listen ", address.ToString(),
                                               " cannot be listened on", why,
                                               ": choose another, or stop who holds it"));
  }
  impl->thread = std::thread([raw = impl.get()] { raw->server.listen_after_bind(); });
  // stop() before this would be lost.
  while (!server.is_running()) std::this_thread::yield();
  return std::unique_ptr<AdminHttp>(new AdminHttp(std::move(impl), std::move(bound)));
}

AdminHttp::AdminHttp(std::unique_ptr<Impl> impl, HostPort address)
    : impl_(std::move(impl)), address_(std::move(address)) {}

AdminHttp::~AdminHttp() {
  impl_->server.stop();
  impl_->thread.join();
}

}  // namespace postrider
