#include "src/http/connect_race.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"

namespace postrider {
namespace {

// Whether what is missing is ours, so that it says nothing of the address.
bool IsWant(int error, const IpAddress& ip) {
  if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) return true;
  // No local port is left. Of IPv6 it may mean that this machine has no address.
  return error == EADDRNOTAVAIL && !ip.is_v6;
}

bool IsConnected(int fd) {
  sockaddr_storage peer;
  socklen_t size = sizeof peer;
  return getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0;
}

}  // namespace

// ---- ConnectRaces

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

// ---- ConnectRace

ConnectRace::ConnectRace(ConnectRaces& races, std::shared_ptr<const AddressList> addresses,
                         uint16_t port, size_t first, int first_socket, absl::Duration deadline,
                         void* owner)
    : races_(races),
      addresses_(std::move(addresses)),
      port_(port),
      owner_(owner),
      first_(first),
      first_socket_(first_socket),
      first_start_(races.clock_.Monotonic()),
      tried_(1u << first),
      next_begin_(first_start_ + ConnectRaces::kStagger),
      deadline_(deadline),
      give_up_(std::min(deadline, first_start_ + races.connect_timeout_)) {
  Arm(next_begin_);
}

ConnectRace::~ConnectRace() {
  Arm(absl::InfiniteDuration());
  CloseAll();
  if (won_socket_ >= 0) close(won_socket_);
}

void ConnectRace::Arm(absl::Duration time) {
  if (armed_ == time) return;
  if (armed_ != absl::InfiniteDuration()) races_.timers_.erase({armed_, this});
  armed_ = time;
  if (armed_ != absl::InfiniteDuration()) races_.timers_.insert({armed_, this});
}

void ConnectRace::FirstFailed(TransferResult failure) {
  if (!failure_.has_value()) failure_ = std::move(failure);
  first_socket_ = -1;
  NoteFailure(first_);
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
    CloseAll();
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
    --races_.sockets_;
    CloseAll();
    return Step::kSwitch;
  }
  DropFailed();
  if (now >= next_begin_) BeginNext();
  const bool more = tried_ != (1u << addresses_->size()) - 1;
  if (first_socket_ < 0) {
    if ((attempts_.empty() && !more) || now >= give_up_) {
      NoteDead();
      return Step::kGiveUp;
    }
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

TransferResult ConnectRace::TakeFailure() {
  TransferResult failure = *std::move(failure_);
  if (wanting_) {
    failure.error = TransferError::kNoResources;
    failure.message += "; not all of its other addresses could be tried, since this server cannot "
                       "open a socket: raise its limit of open files (ulimit -n, LimitNOFILE)";
  } else {
    absl::StrAppend(&failure.message, "; none of its other addresses (", addresses_->size() - 1,
                    ") could be connected to either");
  }
  return failure;
}

bool ConnectRace::FirstIsConnected() const {
  return first_socket_ >= 0 && IsConnected(first_socket_);
}

void ConnectRace::NoteFailure(size_t address) {
  races_.dead_.Add((*addresses_)[address].ip, port_, races_.clock_.Monotonic());
}

void ConnectRace::DropFailed() {
  for (auto it = attempts_.begin(); it != attempts_.end();) {
    if (it->state != State::kFailed) {
      ++it;
      continue;
    }
    NoteFailure(it->address);
    close(it->fd);
    --races_.sockets_;
    it = attempts_.erase(it);
    next_begin_ = -absl::InfiniteDuration();
  }
}

void ConnectRace::CloseAll() {
  for (const Attempt& attempt : attempts_) {
    if (attempt.state == State::kConnecting) races_.loop_.Unwatch(attempt.fd);
    close(attempt.fd);
    --races_.sockets_;
  }
  attempts_.clear();
}

void ConnectRace::BeginNext() {
  const absl::Duration now = races_.clock_.Monotonic();
  next_begin_ = now + ConnectRaces::kStagger;
  while (const std::optional<size_t> next =
             races_.Next(*addresses_, port_, (*addresses_)[first_].ip, tried_)) {
    if (Begin(*next)) return;
  }
}

bool ConnectRace::Begin(size_t address) {
  const IpAddress& ip = (*addresses_)[address].ip;
  if (races_.sockets_ >= ConnectRaces::kMaxSockets) {
    wanting_ = true;
    return true;
  }
  if (!races_.policy_.Judge(ip).ok()) {
    tried_ |= 1u << address;
    return false;
  }
  sockaddr_storage storage;
  const socklen_t size = ip.ToSockaddr(port_, &storage);
  const int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const bool begun =
      fd >= 0 && (connect(fd, reinterpret_cast<const sockaddr*>(&storage), size) == 0 ||
                  errno == EINPROGRESS);
  const int error = errno;
  // It is tried again later.
  const bool want = !begun && IsWant(error, ip);
  wanting_ = want;
  if (!want) tried_ |= 1u << address;
  if (!begun) {
    if (fd >= 0) close(fd);
    if (!want) NoteFailure(address);
    return want;
  }
  const absl::Duration now = races_.clock_.Monotonic();
  give_up_ = std::min(deadline_, now + races_.connect_timeout_);
  attempts_.push_back({address, fd, now});
  ++races_.sockets_;
  races_.loop_.Forget(fd);
  races_.loop_.Watch(fd, EPOLLOUT, this);
  return true;
}

void ConnectRace::OnReady(int fd, uint32_t) {
  races_.loop_.Unwatch(fd);
  const auto attempt = std::find_if(attempts_.begin(), attempts_.end(),
                                    [fd](const Attempt& one) { return one.fd == fd; });
  int error = 0;
  socklen_t size = sizeof error;
  const bool known = getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0;
  attempt->state = known && error == 0 ? State::kConnected : State::kFailed;
  Arm(races_.clock_.Monotonic());
}

}  // namespace postrider
