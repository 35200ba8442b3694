#include "src/http/connect_race.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "src/http/own_want.h"

namespace postrider {
namespace {

// Of the sockets that are free.
constexpr size_t kTimesFree = 8;

bool IsConnected(int fd) {
  sockaddr_storage peer;
  socklen_t size = sizeof peer;
  return getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0;
}

}  // namespace

// ---- ConnectRaces

ConnectRaces::ConnectRaces(EventLoop& loop, const Clock& clock, const AddressPolicy& policy,
                           absl::Duration connect_timeout,
                           std::function<int()> descriptor_ceiling)
    : loop_(loop),
      clock_(clock),
      policy_(policy),
      connect_timeout_(connect_timeout),
      descriptor_ceiling_(std::move(descriptor_ceiling)) {}

ConnectRace* ConnectRaces::TakeDue() {
  if (timers_.empty() || timers_.begin()->first > clock_.Monotonic()) return nullptr;
  ConnectRace* const due = timers_.begin()->second;
  due->Arm(absl::InfiniteDuration());
  return due;
}

absl::Duration ConnectRaces::Deadline() const {
  return timers_.empty() ? absl::InfiniteDuration() : timers_.begin()->first;
}

std::optional<size_t> ConnectRaces::Next(const AddressList& addresses, uint16_t port,
                                         const IpAddress& preferred, uint32_t tried) const {
  const auto found = std::find_if(addresses.begin(), addresses.end(),
                                  [&](const TargetAddress& one) { return one.ip == preferred; });
  const size_t begin = found == addresses.end() ? 0 : found - addresses.begin();
  std::optional<size_t> last_resort;
  for (size_t i = 0; i < addresses.size(); ++i) {
    const size_t at = i == 0 ? begin : (i <= begin ? i - 1 : i);
    if ((tried & (1u << at)) != 0) continue;
    if (dead_.empty() || !dead_.Contains(addresses[at].ip, port, clock_.Monotonic())) return at;
    if (!last_resort.has_value()) last_resort = at;
  }
  return last_resort;
}

bool ConnectRaces::TakeSocket(uint64_t share) {
  const auto own = sockets_by_share_.find(share);
  const size_t taken = own == sockets_by_share_.end() ? 0 : own->second;
  if (taken >= kTimesFree * (kMaxSockets - sockets_)) return false;
  ++sockets_by_share_[share];
  ++sockets_;
  return true;
}

void ConnectRaces::GiveBackSocket(uint64_t share) {
  --sockets_;
  const auto own = sockets_by_share_.find(share);
  if (--own->second == 0) sockets_by_share_.erase(own);
}

int ConnectRaces::Connect(const sockaddr* address, socklen_t size, int* error) const {
  const int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    *error = errno;
    return -1;
  }
  if (descriptor_ceiling_ != nullptr && fd >= descriptor_ceiling_()) {
    *error = EMFILE;
  } else if (connect(fd, address, size) == 0 || errno == EINPROGRESS) {
    return fd;
  } else {
    *error = errno;
  }
  close(fd);
  return -1;
}

// ---- ConnectRace

ConnectRace::ConnectRace(ConnectRaces& races, Entrant entrant, size_t first, int first_socket)
    : races_(races),
      entrant_(std::move(entrant)),
      first_(first),
      first_socket_(first_socket),
      first_start_(races.clock_.Monotonic()),
      tried_(1u << first),
      next_begin_(first_start_ + ConnectRaces::kStagger),
      give_up_(std::min(entrant_.deadline, first_start_ + races.connect_timeout_)) {
  Arm(next_begin_);
}

ConnectRace::~ConnectRace() {
  Arm(absl::InfiniteDuration());
  Rest();
  if (won_socket_ >= 0) close(won_socket_);
}

void ConnectRace::Arm(absl::Duration time) {
  if (armed_ == time) return;
  if (armed_ != absl::InfiniteDuration()) races_.timers_.erase({armed_, this});
  armed_ = time;
  if (armed_ != absl::InfiniteDuration()) races_.timers_.insert({armed_, this});
}

void ConnectRace::FirstFailed(TransferResult failure) {
  if (failure.error != TransferError::kNoResources) NoteFailure(first_);
  if (!failure_.has_value()) failure_ = std::move(failure);
  first_socket_ = -1;
  next_begin_ = races_.clock_.Monotonic();
}

void ConnectRace::NoteDead() {
  if (first_socket_ >= 0 && !FirstIsConnected()) NoteFailure(first_);
  for (const Attempt& attempt : attempts_) {
    if (attempt.state != State::kConnected) NoteFailure(attempt.address);
  }
}

ConnectRace::Step ConnectRace::Advance() {
  Arm(absl::InfiniteDuration());
  const absl::Duration now = races_.clock_.Monotonic();
  if (FirstIsConnected()) {
    // libcurl goes on by itself; should it fail all the same, FirstFailed resumes.
    Rest();
    return Step::kWait;
  }
  const auto won = std::find_if(attempts_.begin(), attempts_.end(), [](const Attempt& attempt) {
    return attempt.state == State::kConnected;
  });
  if (won != attempts_.end()) {
    if (first_socket_ >= 0) NoteFailure(first_);
    for (const Attempt& slower : attempts_) {
      if (slower.state != State::kConnected && now - slower.start >= ConnectRaces::kStagger) {
        NoteFailure(slower.address);
      }
    }
    first_ = won->address;
    won_socket_ = won->fd;
    attempts_.erase(won);
    races_.GiveBackSocket(entrant_.share);
    Rest();
    return Step::kSwitch;
  }
  DropFailed();
  if (now >= next_begin_) BeginNext();
  const bool more = tried_ != (1u << entrant_.addresses->size()) - 1;
  if (first_socket_ < 0) {
    if ((attempts_.empty() && !more) || now >= give_up_) return Step::kGiveUp;
    Arm(more ? std::min(next_begin_, give_up_) : give_up_);
  } else if (more) {
    Arm(next_begin_);
  }
  return Step::kWait;
}

int ConnectRace::TakeSocket() {
  first_start_ = races_.clock_.Monotonic();
  first_socket_ = std::exchange(won_socket_, -1);
  return first_socket_;
}

TransferResult ConnectRace::TakeFailure() { return Conclude(*std::move(failure_)); }

TransferResult ConnectRace::Conclude(TransferResult failure) {
  NoteDead();
  if (!want_.empty()) {
    failure.error = TransferError::kNoResources;
    absl::StrAppend(&failure.message, "; not all of its other addresses could be tried: ", want_);
  } else {
    absl::StrAppend(&failure.message, "; none of its other addresses (",
                    entrant_.addresses->size() - 1, ") could be connected to either");
  }
  return failure;
}

bool ConnectRace::FirstIsConnected() const {
  return first_socket_ >= 0 && IsConnected(first_socket_);
}

void ConnectRace::NoteFailure(size_t address) {
  races_.dead_.Add((*entrant_.addresses)[address].ip, entrant_.port, races_.clock_.Monotonic());
}

void ConnectRace::DropFailed() {
  for (auto it = attempts_.begin(); it != attempts_.end();) {
    if (it->state != State::kFailed) {
      ++it;
      continue;
    }
    NoteFailure(it->address);
    Close(*it);
    it = attempts_.erase(it);
    next_begin_ = -absl::InfiniteDuration();
  }
}

void ConnectRace::Close(const Attempt& attempt) {
  if (attempt.state == State::kConnecting) races_.loop_.Unwatch(attempt.fd);
  close(attempt.fd);
  races_.GiveBackSocket(entrant_.share);
}

void ConnectRace::Rest() {
  for (const Attempt& attempt : attempts_) {
    Close(attempt);
    // Nothing came of it yet, so it is there for when the one that won fails after all.
    tried_ &= ~(1u << attempt.address);
  }
  attempts_.clear();
}

void ConnectRace::BeginNext() {
  const absl::Duration now = races_.clock_.Monotonic();
  next_begin_ = now + ConnectRaces::kStagger;
  const AddressList& addresses = *entrant_.addresses;
  while (const std::optional<size_t> next =
             races_.Next(addresses, entrant_.port, addresses[first_].ip, tried_)) {
    if (Begin(*next)) return;
  }
}

bool ConnectRace::Begin(size_t address) {
  const IpAddress& ip = (*entrant_.addresses)[address].ip;
  if (!races_.policy_.Judge(ip).ok()) {
    tried_ |= 1u << address;
    return false;
  }
  // What is wanting is tried again later.
  want_.clear();
  if (!races_.TakeSocket(entrant_.share)) {
    want_ = "this server opens too many connections at once; it tries again";
    return true;
  }
  sockaddr_storage storage;
  const socklen_t size = ip.ToSockaddr(entrant_.port, &storage);
  const auto* const to = reinterpret_cast<const sockaddr*>(&storage);
  int error = 0;
  const int fd = races_.Connect(to, size, &error);
  if (fd < 0) {
    races_.GiveBackSocket(entrant_.share);
    want_ = DescribeOwnWant(error, to, size);
    if (!want_.empty()) return true;
    tried_ |= 1u << address;
    NoteFailure(address);
    return false;
  }
  tried_ |= 1u << address;
  const absl::Duration now = races_.clock_.Monotonic();
  give_up_ = std::min(entrant_.deadline, now + races_.connect_timeout_);
  attempts_.push_back({address, fd, now});
  races_.loop_.Forget(fd);
  races_.loop_.Watch(fd, EPOLLOUT, this);
  return true;
}

void ConnectRace::OnReady(int fd, uint32_t) {
  const auto attempt = std::find_if(attempts_.begin(), attempts_.end(),
                                    [fd](const Attempt& one) { return one.fd == fd; });
  int error = 0;
  socklen_t size = sizeof error;
  const bool known = getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0;
  races_.loop_.Unwatch(fd);
  attempt->state = known && error == 0 && IsConnected(fd) ? State::kConnected : State::kFailed;
  Arm(races_.clock_.Monotonic());
}

}  // namespace postrider
