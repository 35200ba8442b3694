#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace postrider::bench {

// Where webhooks and the bare loop send to: a keep-alive HTTP/1.1 receiver, one epoll loop in a
// process of its own, as cheap as it can be. It answers each request with 200 and two bytes. What
// it counts and how it behaves stand in memory that both processes share.
//
// Of each path it knows the first letter:
//   /h/...  healthy: counted, and its time recorded when that is wanted
//   /s/...  slow while `slow` is set: answered 10 s late; not counted
// Only requests with a body of kBodyBytes are deliveries; others are test requests, which are
// always answered at once.
class Sink {
 public:
  static constexpr int kPorts = 50;
  static constexpr int kBlackHoles = 5;

  // Forks. REQUIRES: the process has one thread.
  Sink();
  // Kills the receiver.
  ~Sink();
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;

  // http://127.0.0.1:PORT/h/`number`, the ports in turn.
  std::string HealthyUrl(int number) const;
  std::string SlowUrl(int number) const;
  // On a port of its own. REQUIRES: number < kBlackHoles.
  std::string BlackHoleUrl(int number) const;

  // Deliveries are taken, but not answered. To be set while nothing is under way; who waits for an
  // answer when it is cleared never gets one.
  void SetHang(bool hang);
  void SetSlow(bool slow);
  // While they are open the ports of the black holes take no connection, and those that are there
  // are cut. Returns when it is so.
  void SetBlackHoles(bool open);

  // Deliveries that have arrived at healthy paths since the last Restart.
  int64_t deliveries() const;
  // When the first of them came; 0 when none has.
  int64_t first_ns() const;
  void Restart();
  // Fails when the deliveries do not come in time.
  void WaitForDeliveries(int64_t count, int64_t timeout_ns) const;

  // Keeps how long each stamped delivery was under way. Begins anew each time it is called.
  void Record(bool record);
  // In nanoseconds, sorted.
  std::vector<int64_t> Samples() const;

  // What the processes share.
  struct Board;

 private:
  std::string Url(int port, char kind, int number) const;

  Board* const board_;
  pid_t pid_ = -1;
};

}  // namespace postrider::bench
