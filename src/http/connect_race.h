#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "src/base/clock.h"
#include "src/http/address_policy.h"
#include "src/http/event_loop.h"
#include "src/http/target_addresses.h"
#include "src/http/transport.h"

namespace postrider {

class ConnectRace;

// What the races of one transport share: their timers, their bound, and the memory of what failed.
//
// Everything belongs to the loop's thread. Loop, clock and policy must outlive it, and it must
// outlive the races.
class ConnectRaces {
 public:
  // Sockets of all races that are connecting; beyond it an address has to wait. A share (see
  // TransferRequest) may have at most eight times as many as are free, so that some always are.
  static constexpr size_t kMaxSockets = 512;
  // RFC 8305, section 5.
  static constexpr absl::Duration kStagger = absl::Milliseconds(250);

  // `descriptor_ceiling`: as in CurlTransportOptions.
  ConnectRaces(EventLoop& loop, const Clock& clock, const AddressPolicy& policy,
               absl::Duration connect_timeout, std::function<int()> descriptor_ceiling = nullptr);

  // One that wants Advance; null when none does.
  ConnectRace* TakeDue();
  absl::Duration Deadline() const;

  // The first of the addresses that is not known to fail, beginning with the preferred one; null
  // when all of them are tried. `tried`: a bit for each.
  std::optional<size_t> Next(const AddressList& addresses, uint16_t port,
                             const IpAddress& preferred, uint32_t tried) const;
  DeadAddresses& dead() { return dead_; }

 private:
  friend class ConnectRace;

  // Whether the share may open one more; then it has.
  bool TakeSocket(uint64_t share);
  void GiveBackSocket(uint64_t share);
  // A socket that has begun to connect; -1, and why, when it cannot.
  int Connect(const sockaddr* address, socklen_t size, int* error) const;

  EventLoop& loop_;
  const Clock& clock_;
  const AddressPolicy& policy_;
  const absl::Duration connect_timeout_;
  const std::function<int()> descriptor_ceiling_;
  DeadAddresses dead_;
  size_t sockets_ = 0;
  absl::flat_hash_map<uint64_t, size_t> sockets_by_share_;
  std::set<std::pair<absl::Duration, ConnectRace*>> timers_;
};

// The second and later addresses of a host, tried while libcurl still connects to the first, or
// when it could not: the next one every 250 ms, or as soon as one fails (RFC 8305, "Happy
// Eyeballs"). libcurl 7.88.1 does so for the second family only, and gives each address of one
// family half of the time that is left (lib/connect.c, baller_start).
//
// The socket that is connected first is for libcurl, as if it had opened it itself: on a socket
// whose connecting has ended unseen, Linux answers its connect() with success. (libcurl 7.88.1 does
// not know CURL_SOCKOPT_ALREADY_CONNECTED here: curl#10626.)
//
// Everything belongs to the loop's thread.
class ConnectRace final : private EventLoop::Watcher {
 public:
  enum class Step {
    kWait,
    kSwitch,  // another address is connected, and the first is not: take winner() and TakeSocket()
    kGiveUp,  // no address can be connected to: take TakeFailure()
  };

  // Of one transfer.
  struct Entrant {
    std::shared_ptr<const AddressList> addresses;
    uint16_t port;
    uint64_t share;
    // Whatever comes, it is over then.
    absl::Duration deadline;
    // What owner() gives back.
    void* owner;
  };

  // libcurl has begun to connect `first_socket` to the first address, or could not: -1.
  ConnectRace(ConnectRaces& races, Entrant entrant, size_t first, int first_socket);
  // Closes what it has opened.
  ~ConnectRace() override;
  ConnectRace(const ConnectRace&) = delete;
  ConnectRace& operator=(const ConnectRace&) = delete;

  void* owner() const { return entrant_.owner; }

  // libcurl could not connect to its address: what comes of it if no other can be connected to.
  // When that is a want of our own, it says nothing of the address. The next Advance may follow at
  // once.
  void FirstFailed(TransferResult failure);
  // libcurl is connected: the others are not needed.
  void Rest();
  // The transfer ended without a connection, with `failure`: whatever was tried does not work.
  // Returns what is told of it.
  TransferResult Conclude(TransferResult failure);

  // Goes on. REQUIRES: TakeDue returned it, or FirstFailed was called.
  Step Advance();
  // REQUIRES: kSwitch. It is libcurl's address from now on.
  size_t winner() const { return first_; }
  // The caller owns it.
  int TakeSocket();
  // REQUIRES: kGiveUp.
  TransferResult TakeFailure();

 private:
  friend class ConnectRaces;
  enum class State { kConnecting, kConnected, kFailed };
  struct Attempt {
    size_t address;
    int fd;
    absl::Duration start;
    State state = State::kConnecting;
  };

  void OnReady(int fd, uint32_t events) override;
  void Arm(absl::Duration time);
  bool FirstIsConnected() const;
  void DropFailed();
  void Close(const Attempt& attempt);
  void NoteDead();
  void BeginNext();
  // False when it fails at once.
  bool Begin(size_t address);
  void NoteFailure(size_t address);

  ConnectRaces& races_;
  const Entrant entrant_;
  // What libcurl connects to, or did.
  size_t first_;
  int first_socket_;
  absl::Duration first_start_;
  std::optional<TransferResult> failure_;
  uint32_t tried_;
  std::vector<Attempt> attempts_;
  int won_socket_ = -1;
  absl::Duration next_begin_;
  // When the last address that was begun with has had its time.
  absl::Duration give_up_;
  // Why an address could not be tried yet, which is a want of our own; empty: none.
  std::string want_;
  // Where it stands among the timers; InfiniteDuration: nowhere.
  absl::Duration armed_ = absl::InfiniteDuration();
};

}  // namespace postrider
