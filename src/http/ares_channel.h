#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "src/http/dns_reply.h"
#include "src/http/event_loop.h"

struct ares_addrinfo;
struct ares_channeldata;

namespace postrider {

// One channel of c-ares, driven by the loop's epoll. It asks one source, and has no memory of what
// was answered.
//
// Everything belongs to the loop's thread. The loop must outlive it.
class AresChannel final : private EventLoop::Watcher {
 public:
  enum class Source {
    // The machine's hosts file, read for each question; answers before Ask returns.
    kHostsFile,
    // Another name server is asked when one fails; c-ares 1.18 does not tell then how it failed.
    kNameServers,
    // The first answer counts, whatever it is: tells how they fail.
    kFirstAnswer,
  };
  struct Options {
    Source source = Source::kNameServers;
    // Of one try at one server.
    absl::Duration try_timeout = absl::Seconds(1);
    int tries = 2;
    std::string resolv_conf;
    // "ADDRESS:PORT,...": instead of those that resolv_conf names.
    std::string servers;
    // Of servers that are named without one; 0: DNS's own.
    uint16_t port = 0;
  };
  using Done = absl::AnyInvocable<void(DnsReply reply) &&>;

  // Reads resolv_conf; what is wrong with its lines is passed over, as everybody does.
  static absl::StatusOr<std::unique_ptr<AresChannel>> Create(const Options& options,
                                                             EventLoop& loop);
  // Questions without an answer are dropped: their `done` is not called.
  ~AresChannel() override;
  AresChannel(const AresChannel&) = delete;
  AresChannel& operator=(const AresChannel&) = delete;

  // `family`: AF_INET, AF_INET6, AF_UNSPEC. `done` is called once, perhaps before Ask returns.
  void Ask(const std::string& host, int family, Done done);
  // Questions without an answer.
  size_t pending() const { return pending_; }

  // Lets c-ares try again, and give up, what is due. Times are Clock::Monotonic.
  void OnTurn(absl::Duration now);
  // When OnTurn wants to be called next.
  absl::Duration Deadline() const;

 private:
  struct Question;

  explicit AresChannel(EventLoop& loop) : loop_(loop) {}
  absl::Status Init(const Options& options);

  static int OnSocketOpened(int fd, int type, void* self);
  static void OnSocketState(void* self, int fd, int readable, int writable);
  static void OnAnswer(void* question, int code, int timeouts, ares_addrinfo* info);
  void OnReady(int fd, uint32_t events) override;

  EventLoop& loop_;
  ares_channeldata* channel_ = nullptr;
  size_t pending_ = 0;
  // When c-ares looks for what is due.
  absl::Duration next_look_ = -absl::InfiniteDuration();
  bool destroyed_ = false;
};

}  // namespace postrider
