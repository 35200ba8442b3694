#include "src/http/curl_transport.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "src/http/connect_race.h"
#include "src/http/curl_handle.h"
#include "src/http/curl_multi.h"

namespace postrider {
namespace {

// How long a judged address is used before the resolver's cache is asked again.
constexpr absl::Duration kAddressesHold = absl::Seconds(1);
// Handles that are kept for the next requests; one holds some 10 KiB.
constexpr size_t kMaxIdleHandles = 256;
// Targets whose lists are kept while nothing is under way to them.
constexpr size_t kMaxTargets = 4096;
// Multi handles, among which the hosts are divided: for each transfer that ends libcurl 7.88.1
// walks the connections of its multi handle, all hosts', until it finds the transfer's own
// (lib/multi.c, curl_multi_remove_handle).
constexpr size_t kMultis = 8;

void InitCurlOnce() {
  static const CURLcode code = curl_global_init(CURL_GLOBAL_ALL);
  if (code != CURLE_OK) std::abort();  // out of memory
}

class CurlTransport final : public Transport, EventLoop::Timed, CurlSocketOwner {
 public:
  CurlTransport(const CurlTransportOptions& options, const Clock& clock, EventLoop& loop,
                Resolver& resolver, AddressPolicy policy, TransportMetrics& metrics);
  ~CurlTransport() override;

  void Send(TransferRequest request, Done done) override;
  void Cancel(const HttpTarget& target) override;
  void CancelAll() override;

 private:
  // A transfer under way, or one that waits for its next request.
  struct Transfer {
    Transfer(const AddressPolicy& policy, const CurlTransportOptions& options,
             CurlSocketOwner& sockets)
        : handle(policy, options.ca_file, options.connect_timeout, sockets, this) {}

    CurlHandle handle;
    Done done;
    uint64_t share = 0;
    bool looked_on = false;
    absl::Duration start;
    absl::Duration deadline;
    // Of a host with several: those that there were at the start, and which of them is tried.
    std::shared_ptr<const AddressList> addresses;
    size_t address = 0;
    // While there is no connection yet, of a host with several addresses.
    std::unique_ptr<ConnectRace> race;
    bool resent = false;
    bool in_multi = false;
    // Its place in active_.
    size_t index = 0;
  };
  struct Ended {
    Done done;
    TransferResult result;
  };

  bool IsAllowed(int fd) override {
    return options_.descriptor_ceiling == nullptr || fd < options_.descriptor_ceiling();
  }
  void OnSocketOpened(int fd, void* owner) override;
  void OnSocketClosed(int fd) override { loop_.Unwatch(fd); }
  void OnTurn() override;
  absl::Duration Deadline() const override;

  CurlMulti& MultiOf(const Transfer& transfer) const {
    return *multis_[transfer.handle.target()->host_hash % multis_.size()];
  }
  std::shared_ptr<CurlTarget> TargetOf(const std::shared_ptr<const HttpTarget>& target);
  Transfer* NewTransfer(TransferRequest request, Done done);
  // Takes it out of the active ones, and keeps it for the next request.
  void Retire(Transfer* transfer);
  void Resolve(Transfer* transfer);
  void OnResolved(Transfer* transfer, const Resolver::Answer& answer);
  void GiveUpResolving();
  void EndUnresolved(Transfer* transfer);
  void Start(Transfer* transfer, absl::Duration time_left);
  void Enter(Transfer* transfer);
  void Leave(Transfer* transfer);
  void BeginRace(Transfer* transfer, int first_socket);
  void GoOn(Transfer* transfer);
  void EndUnsent(Transfer* transfer, TransferError error, std::string message);
  void End(Transfer* transfer, TransferResult result);
  void OnDone(Transfer* transfer, CURLcode code);
  bool TryAgain(Transfer* transfer, CURLcode code);
  void TakeDone();
  void Deliver();

  const CurlTransportOptions options_;
  const Clock& clock_;
  EventLoop& loop_;
  Resolver& resolver_;
  const AddressPolicy policy_;
  TransportMetrics& metrics_;
  ConnectRaces races_;
  std::vector<std::unique_ptr<CurlMulti>> multis_;

  std::vector<std::unique_ptr<Transfer>> active_;
  std::vector<std::unique_ptr<Transfer>> idle_;
  // Transfers that wait for an address, the next to run out of time first. One that has, or was
  // cancelled, is not here any more.
  std::map<std::pair<absl::Duration, uint64_t>, Transfer*> resolving_;
  uint64_t last_resolving_ = 0;
  absl::flat_hash_map<const HttpTarget*, std::shared_ptr<CurlTarget>> targets_;
  std::vector<Ended> ended_;
  // The memory of a list that was delivered, for the next one.
  std::vector<Ended> spare_;
};

CurlTransport::CurlTransport(const CurlTransportOptions& options, const Clock& clock,
                             EventLoop& loop, Resolver& resolver, AddressPolicy policy,
                             TransportMetrics& metrics)
    : options_(options),
      clock_(clock),
      loop_(loop),
      resolver_(resolver),
      policy_(std::move(policy)),
      metrics_(metrics),
      races_(loop, clock, policy_, options.connect_timeout, options.descriptor_ceiling) {
  for (size_t i = 0; i < kMultis; ++i) {
    multis_.push_back(std::make_unique<CurlMulti>(loop_, clock_, options_.max_kept_connections));
  }
  loop_.AddTimed(this);
}

CurlTransport::~CurlTransport() {
  CancelAll();
  active_.clear();
  idle_.clear();
  multis_.clear();
}

// ---- Requests come in

void CurlTransport::Send(TransferRequest request, Done done) {
  Transfer* const transfer = NewTransfer(std::move(request), std::move(done));
  if (transfer->start < transfer->handle.target()->addresses_until) {
    Start(transfer, transfer->handle.target()->target->timeout);
  } else {
    Resolve(transfer);
  }
}

std::shared_ptr<CurlTarget> CurlTransport::TargetOf(
    const std::shared_ptr<const HttpTarget>& target) {
  std::shared_ptr<CurlTarget>& known = targets_[target.get()];
  // The entry keeps the target alive, so its address is not given to another.
  if (known != nullptr) return known;
  known = std::make_shared<CurlTarget>(target);
  std::shared_ptr<CurlTarget> result = known;
  if (targets_.size() > kMaxTargets) {
    absl::erase_if(targets_, [](const auto& entry) { return entry.second.use_count() == 1; });
  }
  return result;
}

CurlTransport::Transfer* CurlTransport::NewTransfer(TransferRequest request, Done done) {
  std::unique_ptr<Transfer> transfer;
  std::shared_ptr<CurlTarget> target;
  if (!idle_.empty()) {
    transfer = std::move(idle_.back());
    idle_.pop_back();
    const CurlTarget* const last = transfer->handle.target();
    if (last != nullptr && last->target == request.target) {
      target = transfer->handle.shared_target();
    }
  } else {
    transfer = std::make_unique<Transfer>(policy_, options_, static_cast<CurlSocketOwner&>(*this));
  }
  if (target == nullptr) target = TargetOf(request.target);
  transfer->share = request.share;
  transfer->looked_on = request.capture;
  transfer->handle.Prepare(std::move(target), std::move(request));
  transfer->done = std::move(done);
  transfer->start = clock_.Monotonic();
  transfer->deadline = transfer->start + transfer->handle.target()->target->timeout;
  transfer->resent = false;
  transfer->index = active_.size();
  active_.push_back(std::move(transfer));
  return active_.back().get();
}

void CurlTransport::Retire(Transfer* transfer) {
  const size_t index = transfer->index;
  std::unique_ptr<Transfer> retired = std::move(active_[index]);
  if (index + 1 != active_.size()) {
    active_[index] = std::move(active_.back());
    active_[index]->index = index;
  }
  active_.pop_back();
  retired->race.reset();
  retired->addresses.reset();
  retired->handle.Clear();
  if (idle_.size() < kMaxIdleHandles) idle_.push_back(std::move(retired));
}

// ---- Where to

void CurlTransport::Resolve(Transfer* transfer) {
  const CurlTarget& target = *transfer->handle.target();
  if (target.host.empty()) {
    EndUnsent(transfer, TransferError::kResolve,
              absl::StrCat("the URL ", target.target->url, " names no host; correct it"));
    return;
  }
  const Resolver::Answer* const known = resolver_.Lookup(target.host);
  if (known != nullptr && (known->ok() || !transfer->looked_on)) {
    OnResolved(transfer, *known);
    return;
  }
  const auto key = std::make_pair(transfer->deadline, ++last_resolving_);
  resolving_.emplace(key, transfer);
  resolver_.Resolve(target.host, transfer->share, [this, key](const Resolver::Answer& answer) {
    const auto it = resolving_.find(key);
    if (it == resolving_.end()) return;
    Transfer* const waiting = it->second;
    resolving_.erase(it);
    OnResolved(waiting, answer);
  });
}

void CurlTransport::OnResolved(Transfer* transfer, const Resolver::Answer& answer) {
  CurlTarget& target = *transfer->handle.shared_target();
  if (absl::IsResourceExhausted(answer.status())) {
    EndUnsent(transfer, TransferError::kNoResources, std::string(answer.status().message()));
    return;
  }
  if (!answer.ok()) {
    metrics_.resolve_failures.Add();
    EndUnsent(transfer, TransferError::kResolve, std::string(answer.status().message()));
    return;
  }
  absl::StatusOr<AddressList> passed = PassedAddresses(policy_, *answer, target.host);
  if (!passed.ok()) {
    EndUnsent(transfer, TransferError::kBlockedAddress, std::string(passed.status().message()));
    return;
  }
  if (target.addresses == nullptr || *passed != *target.addresses) {
    target.addresses = std::make_shared<const AddressList>(*std::move(passed));
  }
  target.addresses_until = clock_.Monotonic() + kAddressesHold;
  const absl::Duration left = transfer->deadline - clock_.Monotonic();
  if (left <= absl::ZeroDuration()) {
    EndUnresolved(transfer);
    return;
  }
  Start(transfer, left);
}

// The resolver's time is not the request's.
void CurlTransport::GiveUpResolving() {
  if (resolving_.empty()) return;
  const absl::Duration now = clock_.Monotonic();
  while (!resolving_.empty() && resolving_.begin()->first.first <= now) {
    Transfer* const transfer = resolving_.begin()->second;
    resolving_.erase(resolving_.begin());
    EndUnresolved(transfer);
  }
}

void CurlTransport::EndUnresolved(Transfer* transfer) {
  const CurlTarget& target = *transfer->handle.target();
  if (resolver_.WaitsForTurn(target.host)) {
    EndUnsent(transfer, TransferError::kNoResources,
              absl::StrCat("the address of ", target.host, " was not looked up within ",
                           absl::FormatDuration(target.target->timeout),
                           ", since other lookups wait for their answers; check this machine's DNS "
                           "(/etc/resolv.conf)"));
    return;
  }
  metrics_.resolve_failures.Add();
  EndUnsent(transfer, TransferError::kTimeout,
            absl::StrCat("no name server told the address of ", target.host, " within ",
                         absl::FormatDuration(target.target->timeout),
                         "; check this machine's DNS (/etc/resolv.conf), or raise the webhook's "
                         "timeout"));
}

void CurlTransport::EndUnsent(Transfer* transfer, TransferError error, std::string message) {
  TransferResult result;
  result.error = error;
  result.message = std::move(message);
  End(transfer, std::move(result));
}

void CurlTransport::End(Transfer* transfer, TransferResult result) {
  if (result.error == TransferError::kBlockedAddress) metrics_.blocked.Add();
  result.latency = clock_.Monotonic() - transfer->start;
  ended_.push_back({std::move(transfer->done), std::move(result)});
  Retire(transfer);
}

void CurlTransport::Start(Transfer* transfer, absl::Duration time_left) {
  const CurlTarget& target = *transfer->handle.target();
  size_t first = 0;
  if (target.addresses->size() > 1) {
    transfer->addresses = target.addresses;
    first = races_.Next(*target.addresses, target.port, target.preferred, 0).value_or(0);
  }
  transfer->address = first;
  transfer->handle.Route((*target.addresses)[first].connect_to, time_left, transfer->resent);
  Enter(transfer);
}

void CurlTransport::Enter(Transfer* transfer) {
  transfer->in_multi = true;
  MultiOf(*transfer).Add(transfer->handle.easy());
}

void CurlTransport::Leave(Transfer* transfer) {
  if (!transfer->in_multi) return;
  MultiOf(*transfer).Remove(transfer->handle.easy());
  transfer->in_multi = false;
}

void CurlTransport::OnSocketOpened(int fd, void* owner) {
  loop_.Forget(fd);
  auto* const transfer = static_cast<Transfer*>(owner);
  if (transfer->addresses != nullptr) BeginRace(transfer, fd);
}

void CurlTransport::BeginRace(Transfer* transfer, int first_socket) {
  transfer->race = std::make_unique<ConnectRace>(
      races_,
      ConnectRace::Entrant{transfer->addresses, transfer->handle.target()->port, transfer->share,
                           transfer->deadline, transfer},
      transfer->address, first_socket);
}

// With the race of one that has no connection yet.
void CurlTransport::GoOn(Transfer* transfer) {
  const absl::Duration left = transfer->deadline - clock_.Monotonic();
  ConnectRace& race = *transfer->race;
  if (transfer->in_multi && transfer->handle.began_request()) {
    // It may have arrived, so no other address gets it.
    race.Rest();
    return;
  }
  switch (race.Advance()) {
    case ConnectRace::Step::kWait:
      break;
    case ConnectRace::Step::kSwitch:
      Leave(transfer);
      metrics_.address_fallbacks.Add();
      transfer->address = race.winner();
      transfer->handle.RouteOver(race.TakeSocket(),
                                 (*transfer->addresses)[transfer->address].connect_to,
                                 std::max(left, absl::Milliseconds(1)));
      Enter(transfer);
      break;
    case ConnectRace::Step::kGiveUp:
      End(transfer, race.TakeFailure());
      break;
  }
}

// ---- libcurl and the loop

void CurlTransport::OnTurn() {
  const absl::Duration now = clock_.Monotonic();
  for (const auto& multi : multis_) {
    if (multi->deadline() <= now) multi->RunTimer();
  }
  GiveUpResolving();
  TakeDone();
  // After it: a transfer that has ended has left its race.
  while (ConnectRace* const race = races_.TakeDue()) GoOn(static_cast<Transfer*>(race->owner()));
  Deliver();
}

absl::Duration CurlTransport::Deadline() const {
  if (!ended_.empty()) return -absl::InfiniteDuration();
  absl::Duration deadline = races_.Deadline();
  if (!resolving_.empty()) deadline = std::min(deadline, resolving_.begin()->first.first);
  for (const auto& multi : multis_) deadline = std::min(deadline, multi->deadline());
  return deadline;
}

void CurlTransport::TakeDone() {
  for (const auto& multi : multis_) {
    multi->TakeDone([this](CURL* easy, CURLcode code) {
      char* owner = nullptr;
      curl_easy_getinfo(easy, CURLINFO_PRIVATE, &owner);
      OnDone(reinterpret_cast<Transfer*>(owner), code);
    });
  }
}

void CurlTransport::OnDone(Transfer* transfer, CURLcode code) {
  Leave(transfer);
  if (transfer->handle.opened_connection()) {
    metrics_.connections_opened.Add();
  } else if (transfer->handle.began_request()) {
    metrics_.connections_reused.Add();
  }
  if (transfer->handle.got_unasked()) metrics_.unasked.Add();
  if ((code != CURLE_OK || transfer->handle.WasStale(code)) && TryAgain(transfer, code)) return;
  if (code == CURLE_OK && transfer->addresses != nullptr) {
    CurlTarget& target = *transfer->handle.shared_target();
    target.preferred = (*transfer->addresses)[transfer->address].ip;
    if (!races_.dead().empty()) races_.dead().Remove(target.preferred, target.port);
  }
  End(transfer, transfer->handle.Finish(code));
}

bool CurlTransport::TryAgain(Transfer* transfer, CURLcode code) {
  const absl::Duration left = transfer->deadline - clock_.Monotonic();
  if (left <= absl::ZeroDuration()) {
    if (transfer->race == nullptr || transfer->handle.opened_connection()) return false;
    End(transfer, transfer->race->Conclude(transfer->handle.Finish(code)));
    return true;
  }
  if (transfer->handle.WasStale(code) && !transfer->resent) {
    // curl#10646, curl#11534: libcurl 7.88.1 uses connections that the other side has closed.
    transfer->resent = true;
    metrics_.stale_resends.Add();
    Start(transfer, left);
    return true;
  }
  if (transfer->addresses == nullptr || !transfer->handle.FailedToConnect(code)) return false;
  // It may not have got as far as a socket.
  if (transfer->race == nullptr) BeginRace(transfer, -1);
  transfer->race->FirstFailed(transfer->handle.Finish(code));
  GoOn(transfer);
  return true;
}

void CurlTransport::Deliver() {
  // A callback may cancel all, which delivers, too.
  std::vector<Ended> delivering;
  delivering.swap(spare_);
  delivering.swap(ended_);
  for (Ended& ended : delivering) std::move(ended.done)(std::move(ended.result));
  delivering.clear();
  spare_.swap(delivering);
}

void CurlTransport::Cancel(const HttpTarget& target) {
  const auto is_to = [&target](const Transfer& transfer) {
    return transfer.handle.target()->target.get() == &target;
  };
  std::erase_if(resolving_, [&](const auto& entry) { return is_to(*entry.second); });
  // From the end, since the last one takes the place of one that goes.
  for (size_t i = active_.size(); i-- > 0;) {
    Transfer* const transfer = active_[i].get();
    if (!is_to(*transfer)) continue;
    Leave(transfer);
    EndUnsent(transfer, TransferError::kCancelled, "nobody waits for it any more");
  }
}

void CurlTransport::CancelAll() {
  resolving_.clear();
  while (!active_.empty()) {
    Transfer* const transfer = active_.back().get();
    Leave(transfer);
    EndUnsent(transfer, TransferError::kCancelled, "Postrider is shutting down");
  }
  Deliver();
}

}  // namespace

std::unique_ptr<Transport> MakeCurlTransport(const CurlTransportOptions& options,
                                             const Clock& clock, EventLoop& loop,
                                             Resolver& resolver, AddressPolicy policy,
                                             TransportMetrics& metrics) {
  InitCurlOnce();
  return std::make_unique<CurlTransport>(options, clock, loop, resolver, std::move(policy),
                                         metrics);
}

}  // namespace postrider
