#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <memory>
#include <string>
#include <unordered_map>

#include "src/base/metrics.h"
#include "src/base/mutex.h"
#include "src/server/observe/logging.h"

namespace postrider {

class MetricsPage;

// The connections that gRPC was given, in all and by peer: it owns them, and closes them when it
// likes, but does not say so (socket_hooks.h does). On a plain one it also watches what comes, and
// cuts off a client that misbehaves (frame_guard.h); over TLS the hooks do that.
//
// Thread-safe. Lives as long as any of its connections, which may be a little longer than the
// server: make it with Create. Over TLS it is not known which connection was cut off, nor which of
// several servers' it was: all of them count it.
class CallerConnections : public std::enable_shared_from_this<CallerConnections> {
 public:
  struct Limits {
    // What the listener may have open at once, and what one peer (base/peer.h) may.
    int in_all = 4096;
    int per_peer = 2048;
    // Nothing is known of what comes: it is TLS.
    bool encrypted = false;
  };
  enum class Verdict { kTaken, kTooMany, kTooManyOfPeer };

  struct Metrics {
    Gauge open;
    Counter accepted;
    Counter refused;
    Counter refused_of_peer;
    Counter cut_off;
  };

  static std::shared_ptr<CallerConnections> Create(const Limits& limits);
  ~CallerConnections();
  CallerConnections(const CallerConnections&) = delete;
  CallerConnections& operator=(const CallerConnections&) = delete;

  // Counts the socket, which is open and somebody else's, until it is closed.
  Verdict Add(int fd, const sockaddr* address);

  // One more could be taken, of a peer that has none.
  bool HasRoom() const;

  Metrics& metrics() { return metrics_; }
  const Metrics& metrics() const { return metrics_; }

 private:
  class Connection;

  explicit CallerConnections(const Limits& limits);
  void Remove(const std::string& peer);
  void OnCutOff(const std::string& peer, const char* why);
  // The hooks tell it.
  static void OnTlsCutOff(const char* why);

  const Limits limits_;
  Metrics metrics_;
  LogLimiter cut_off_limiter_;

  mutable Mutex mutex_;
  int count_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unordered_map<std::string, int> by_peer_ ABSL_GUARDED_BY(mutex_);
};

void AddConnectionMetrics(const CallerConnections::Metrics& metrics, MetricsPage* page);

}  // namespace postrider
