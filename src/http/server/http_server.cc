#include "src/http/server/http_server.h"

#include <poll.h>
#include <pthread.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <list>
#include <map>
#include <optional>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "src/base/peer.h"
#include "src/http/server/connection.h"

namespace postrider {
namespace {

namespace asio = boost::asio;
using Tcp = asio::ip::tcp;
using Error = boost::system::error_code;

// The kernel lowers it to net.core.somaxconn.
constexpr int kBacklog = 4096;
// How many are accepted before those who are connected get their turn.
// Fewer than the reserve holds: else one of these could push another out unheard.
constexpr int kAcceptsInARow = 16;
constexpr std::chrono::milliseconds kAcceptPause{100};

asio::ip::address Unmapped(const asio::ip::address& address) {
  if (!address.is_v6() || !address.to_v6().is_v4_mapped()) return address;
  return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
}

}  // namespace

class HttpServer::Impl {
 public:
  explicit Impl(HttpServerOptions options)
      : options_(std::move(options)),
        io_(std::make_shared<asio::io_context>(1)),
        work_(io_->get_executor()),
        acceptor_(*io_),
        pause_(*io_),
        stop_timer_(*io_),
        shared_{options_, metrics_} {}

  ~Impl() {
    if (!thread_.joinable()) return;
    BeginStop(absl::ZeroDuration());
    thread_.join();
  }

  // The port; else why it cannot.
  absl::StatusOr<int> Listen() {
    Error error;
    Tcp::resolver resolver(*io_);
    const Tcp::resolver::results_type found =
        resolver.resolve(options_.host, std::to_string(options_.port),
                         Tcp::resolver::passive | Tcp::resolver::numeric_service, error);
    if (error) return absl::UnavailableError(error.message());
    for (const auto& entry : found) {
      error = Bind(entry.endpoint());
      if (!error) return acceptor_.local_endpoint(error).port();
      Error ignored;
      acceptor_.close(ignored);
    }
    return absl::UnavailableError(error.message());
  }

  void Run() {
    thread_ = std::thread([this] {
      pthread_setname_np(pthread_self(), "http");
      WaitForClients();
      io_->run();
    });
  }

  void BeginStop(absl::Duration timeout) {
    asio::post(*io_, [this, timeout] { Stop(timeout); });
  }

  void Post(std::function<void()> closure) { asio::post(*io_, std::move(closure)); }

  const HttpServerMetrics& metrics() const { return metrics_; }

 private:
  Error Bind(const Tcp::endpoint& endpoint) {
    Error error;
    acceptor_.open(endpoint.protocol(), error);
    if (error) return error;
    // Never SO_REUSEPORT: a second server would share the port, and get every other connection.
    acceptor_.set_option(Tcp::acceptor::reuse_address(true), error);
    if (!error && endpoint.protocol() == Tcp::v6()) {
      acceptor_.set_option(asio::ip::v6_only(false), error);
    }
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(kBacklog, error);
    if (!error) acceptor_.non_blocking(true, error);
    return error;
  }

  void WaitForClients() {
    acceptor_.async_wait(Tcp::acceptor::wait_read, [this](const Error& error) {
      if (shared_.stopping || error == asio::error::operation_aborted) return;
      Accept();
    });
  }

  void Accept() {
    for (int i = 0; i < kAcceptsInARow; ++i) {
      Error error;
      Tcp::socket socket(*io_);
      acceptor_.accept(socket, error);
      if (error == asio::error::would_block || error == asio::error::interrupted) break;
      // One that has gone again.
      if (error == asio::error::connection_aborted || error.value() == EPROTO) continue;
      if (error && SomebodyWaits()) return OnTrouble(error);
      if (error) break;
      if (std::exchange(in_trouble_, false)) Tell("");
      Take(std::move(socket));
    }
    WaitForClients();
  }

  // Without a descriptor, accept fails even when nobody wants to be accepted.
  bool SomebodyWaits() {
    pollfd listener = {acceptor_.native_handle(), POLLIN, 0};
    return poll(&listener, 1, 0) == 1;
  }

  // We, or the machine, have run out of descriptors or memory. What waits stays with the kernel.
  void OnTrouble(const Error& error) {
    metrics_.accept_failures.Add();
    if (!std::exchange(in_trouble_, true)) Tell(error.message());
    const bool freed = CloseOldest([](const HttpConnection& c) { return c.idle(); });
    pause_.expires_after(freed ? std::chrono::milliseconds(0) : kAcceptPause);
    pause_.async_wait([this](const Error& cancelled) {
      if (!cancelled && !shared_.stopping) Accept();
    });
  }

  void Tell(const std::string& why) {
    if (options_.on_accept_trouble) options_.on_accept_trouble(why);
  }

  void Take(Tcp::socket socket) {
    Error error;
    const Tcp::endpoint remote = socket.remote_endpoint(error);
    if (!error) socket.non_blocking(true, error);
    // It has gone again.
    if (error) return;
    socket.set_option(Tcp::no_delay(true), error);
    const asio::ip::address address = Unmapped(remote.address());
    std::string key = PeerOf(remote.data());

    const HttpServerLimits& limits = options_.limits;
    const auto peer = peers_.find(key);
    const bool reserved = connections_.size() - reserved_ >= limits.max_connections ||
                          (peer != peers_.end() && peer->second >= limits.max_peer_connections);
    if (reserved && reserved_ >= limits.reserved_connections &&
        !CloseOldest([](const HttpConnection& c) { return c.reserved() && c.waits(); })) {
      metrics_.refused.Add();
      return;
    }
    auto connection = std::make_shared<HttpConnection>(
        std::move(socket), address.to_string(), reserved, shared_, io_,
        [this](HttpConnection* closed) { Remove(closed); });
    connection->peer_key = std::move(key);
    if (reserved) {
      ++reserved_;
    } else {
      ++peers_[connection->peer_key];
    }
    connection->place = connections_.insert(connections_.end(), connection);
    metrics_.connections.Add(1);
    metrics_.accepted.Add();
    connection->Start();
  }

  void Remove(HttpConnection* closed) {
    metrics_.connections.Add(-1);
    if (closed->reserved()) {
      --reserved_;
    } else {
      const auto peer = peers_.find(closed->peer_key);
      if (--peer->second == 0) peers_.erase(peer);
    }
    connections_.erase(closed->place);
    if (shared_.stopping && connections_.empty()) stop_timer_.cancel();
  }

  template <typename Which>
  bool CloseOldest(Which which) {
    for (const std::shared_ptr<HttpConnection>& connection : connections_) {
      if (!which(*connection)) continue;
      metrics_.refused.Add();
      // It leaves the list, and must not end in the middle of that.
      const std::shared_ptr<HttpConnection> keep = connection;
      keep->Close();
      return true;
    }
    return false;
  }

  void Stop(absl::Duration timeout) {
    if (std::exchange(shared_.stopping, true)) return;
    Error ignored;
    acceptor_.close(ignored);
    pause_.cancel();
    for (const std::shared_ptr<HttpConnection>& connection : Snapshot()) connection->Stop();
    if (connections_.empty() || timeout <= absl::ZeroDuration()) return End();
    stop_timer_.expires_after(absl::ToChronoNanoseconds(timeout));
    stop_timer_.async_wait([this](const Error& /*error*/) { End(); });
  }

  void End() {
    for (const std::shared_ptr<HttpConnection>& connection : Snapshot()) connection->Close();
    work_.reset();
  }

  std::vector<std::shared_ptr<HttpConnection>> Snapshot() const {
    return {connections_.begin(), connections_.end()};
  }

  const HttpServerOptions options_;
  HttpServerMetrics metrics_;

  // Owned by the thread once it runs. Replies may hold on to the context for longer.
  const std::shared_ptr<asio::io_context> io_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  Tcp::acceptor acceptor_;
  asio::steady_timer pause_;
  asio::steady_timer stop_timer_;
  HttpConnections shared_;
  // In the order of their coming.
  std::list<std::shared_ptr<HttpConnection>> connections_;
  size_t reserved_ = 0;
  // How many of them are not reserved, by PeerOf.
  std::map<std::string, size_t> peers_;
  bool in_trouble_ = false;

  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Listen(HttpServerOptions options) {
  std::unique_ptr<Impl> impl;
  try {
    impl = std::make_unique<Impl>(std::move(options));
  } catch (const boost::system::system_error& error) {
    return absl::UnavailableError(error.code().message());
  }
  absl::StatusOr<int> port = impl->Listen();
  if (!port.ok()) return port.status();
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl), *port));
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl, int port)
    : impl_(std::move(impl)), port_(port) {}
HttpServer::~HttpServer() = default;

void HttpServer::Start() { impl_->Run(); }

void HttpServer::BeginStop(absl::Duration timeout) { impl_->BeginStop(timeout); }
void HttpServer::Post(std::function<void()> closure) { impl_->Post(std::move(closure)); }
const HttpServerMetrics& HttpServer::metrics() const { return impl_->metrics(); }

}  // namespace postrider
