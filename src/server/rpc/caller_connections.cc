#include "src/server/rpc/caller_connections.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "src/base/clock.h"
#include "src/base/peer.h"
#include "src/server/observe/metrics_page.h"
#include "src/server/rpc/frame_guard.h"
#include "src/server/rpc/socket_hooks.h"

namespace postrider {
namespace {

// With why.
constexpr char kCutOffMessage[] =
    "a client was cut off, since its HTTP/2 is not that of an honest one";
constexpr int kCutOffLoggedPerSecond = 1;

// The tables of listeners that speak TLS.
struct TlsTables {
  Mutex mutex;
  std::set<CallerConnections*> tables ABSL_GUARDED_BY(mutex);
};
TlsTables& Tables() {
  static auto* const tables = new TlsTables;
  return *tables;
}

}  // namespace

// Deletes itself when its socket is closed.
class CallerConnections::Connection final : public WatchedSocket {
 public:
  Connection(std::shared_ptr<CallerConnections> table, std::string peer)
      : table_(std::move(table)), peer_(std::move(peer)) {}

  bool Received(const msghdr& message, size_t bytes) override {
    if (table_->limits_.encrypted) return true;
    const absl::Duration now = SystemClock().Monotonic();
    const char* why = nullptr;
    for (size_t i = 0; i < message.msg_iovlen && bytes > 0 && why == nullptr; ++i) {
      const iovec& piece = message.msg_iov[i];
      const size_t size = std::min(bytes, piece.iov_len);
      why = guard_.Take(piece.iov_base, size, now);
      bytes -= size;
    }
    if (why == nullptr) return true;
    if (!std::exchange(cut_off_, true)) table_->OnCutOff(peer_, why);
    return false;
  }

  void Closing() override {
    table_->Remove(peer_);
    delete this;
  }

 private:
  const std::shared_ptr<CallerConnections> table_;
  const std::string peer_;
  FrameGuard guard_;
  bool cut_off_ = false;
};

std::shared_ptr<CallerConnections> CallerConnections::Create(const Limits& limits) {
  return std::shared_ptr<CallerConnections>(new CallerConnections(limits));
}

CallerConnections::CallerConnections(const Limits& limits)
    : limits_(limits), cut_off_limiter_(SystemClock(), kCutOffLoggedPerSecond) {
  if (!limits_.encrypted) return;
  MutexLock lock(&Tables().mutex);
  Tables().tables.insert(this);
  OnTlsConnectionCutOff(&CallerConnections::OnTlsCutOff);
}

CallerConnections::~CallerConnections() {
  if (!limits_.encrypted) return;
  MutexLock lock(&Tables().mutex);
  Tables().tables.erase(this);
}

CallerConnections::Verdict CallerConnections::Add(int fd, const sockaddr* address) {
  std::string peer = PeerOf(address);
  {
    MutexLock lock(&mutex_);
    if (count_ >= limits_.in_all || fd >= kMaxWatchedFd) {
      metrics_.refused.Add();
      return Verdict::kTooMany;
    }
    int& of_peer = by_peer_[peer];
    if (of_peer >= limits_.per_peer) {
      metrics_.refused_of_peer.Add();
      return Verdict::kTooManyOfPeer;
    }
    ++of_peer;
    ++count_;
    metrics_.open.Set(count_);
  }
  metrics_.accepted.Add();
  WatchSocket(fd, new Connection(shared_from_this(), std::move(peer)));
  return Verdict::kTaken;
}

bool CallerConnections::HasRoom() const {
  MutexLock lock(&mutex_);
  return count_ < limits_.in_all;
}

void CallerConnections::Remove(const std::string& peer) {
  MutexLock lock(&mutex_);
  const auto found = by_peer_.find(peer);
  if (--found->second == 0) by_peer_.erase(found);
  metrics_.open.Set(--count_);
}

void CallerConnections::OnCutOff(const std::string& peer, const char* why) {
  metrics_.cut_off.Add();
  uint64_t suppressed = 0;
  if (!cut_off_limiter_.Allow(&suppressed)) return;
  Log(LogLevel::kWarn, kCutOffMessage,
      {{"peer", peer}, {"it", why}, {"suppressed", absl::StrCat(suppressed)}});
}

void CallerConnections::OnTlsCutOff(const char* why) {
  {
    MutexLock lock(&Tables().mutex);
    for (CallerConnections* table : Tables().tables) table->metrics_.cut_off.Add();
  }
  static auto* const limiter = new LogLimiter(SystemClock(), kCutOffLoggedPerSecond);
  uint64_t suppressed = 0;
  if (!limiter->Allow(&suppressed)) return;
  Log(LogLevel::kWarn, kCutOffMessage, {{"it", why}, {"suppressed", absl::StrCat(suppressed)}});
}

void AddConnectionMetrics(const CallerConnections::Metrics& metrics, MetricsPage* page) {
  page->AddGauge("postrider_grpc_connections", "Connections of gRPC callers.", {}, metrics.open);
  page->AddCounter("postrider_grpc_connections_accepted_total", "Connections that were taken.", {},
                   metrics.accepted);
  const char* const refused = "Connections closed at once, since there were too many.";
  page->AddCounter("postrider_grpc_connections_refused_total", refused, {{"bound", "all"}},
                   metrics.refused);
  page->AddCounter("postrider_grpc_connections_refused_total", refused, {{"bound", "peer"}},
                   metrics.refused_of_peer);
  page->AddCounter("postrider_grpc_connections_cut_off_total",
                   "Connections ended for what no honest client does.", {}, metrics.cut_off);
}

}  // namespace postrider
