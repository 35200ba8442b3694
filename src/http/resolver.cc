#include "src/http/resolver.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "src/http/answer_cache.h"
#include "src/http/dns_reply.h"
#include "src/http/dns_sources.h"
#include "src/http/fair_turns.h"

namespace postrider {
namespace {

// Lookups under way; a name server that does not answer must not pile them up.
constexpr size_t kMaxLookups = 1024;
constexpr size_t kMaxWaiting = 4096;
// Lookups that were told, and still wait for the other family.
constexpr size_t kMaxLeftovers = 2048;

// A numeric address in whatever spelling the C library takes, as other software would understand
// it.
bool ParseLiteral(const std::string& host, IpAddress* address) {
  if (const absl::StatusOr<IpAddress> parsed = IpAddress::Parse(host); parsed.ok()) {
    *address = *parsed;
    return true;
  }
  in_addr v4;
  if (inet_aton(host.c_str(), &v4) == 0) return false;
  std::memcpy(address->bytes.data(), &v4, sizeof v4);
  return true;
}

class AresResolver final : public Resolver, EventLoop::Timed {
 public:
  AresResolver(const ResolverOptions& options, const Clock& clock, EventLoop& loop,
               ResolverMetrics& metrics)
      : options_(options),
        clock_(clock),
        loop_(loop),
        metrics_(metrics),
        turns_(kMaxLookups, kMaxWaiting),
        cache_(options.min_ttl, options.max_ttl, options.max_failure_ttl,
               options.max_cached_hosts) {
    loop_.AddTimed(this);
  }

  absl::Status Init();

  const Answer* Lookup(const std::string& host) override;
  void Resolve(const std::string& host, uint64_t share, Done done) override;
  bool WaitsForTurn(const std::string& host) const override;
  void Reload() override;

 private:
  enum Family : size_t { kV4, kV6 };
  enum class State { kWaiting, kAsking, kTold };
  // A name that is asked, and all who wait for its answer.
  struct Question {
    std::string host;
    State state = State::kWaiting;
    // While it waits: those in whose queues it does. Then the one that gave it its place.
    std::vector<uint64_t> shares;
    bool has_place = false;
    bool leftover = false;
    absl::Duration deadline;
    // Until when the other family is waited for.
    std::optional<absl::Duration> told_at;
    std::vector<Done> waiting;
    // What has come, and how many more answers will.
    std::array<std::optional<DnsReply>, 2> replies;
    int outstanding = 0;
    // What the cache calls the answer.
    uint64_t kept_as = 0;
  };

  void OnTurn() override;
  absl::Duration Deadline() const override;

  Question* Find(uint64_t id);
  absl::Duration DeadlineOf(const Question& question) const;
  void Wait(uint64_t id, uint64_t share);
  void Refuse(uint64_t id);
  void BeginWhatMay();
  void Begin(uint64_t id);
  void AskServers(uint64_t id);
  void OnReply(uint64_t id, Family family, DnsReply reply);
  void Consider(uint64_t id);
  void Diagnose(uint64_t id);
  void OnDiagnosis(uint64_t id, DnsReply reply);
  void OnDeadline(uint64_t id);
  void Succeed(uint64_t id);
  void Fail(uint64_t id, DnsCode code);
  void Tell(uint64_t id, const Answer& answer);
  DnsReply Combine(const Question& question) const;
  void EraseIfOver(uint64_t id);
  void Deliver();

  const ResolverOptions options_;
  const Clock& clock_;
  EventLoop& loop_;
  ResolverMetrics& metrics_;

  uint64_t last_id_ = 0;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Question>> questions_;
  // Those that are not told yet.
  absl::flat_hash_map<std::string, uint64_t> by_host_;
  std::set<std::pair<absl::Duration, uint64_t>> deadlines_;
  FairTurns turns_;
  size_t leftovers_ = 0;
  AnswerCache cache_;
  Answer literal_;

  struct Told {
    Done done;
    Answer answer;
  };
  std::vector<Told> told_;

  // Last: when they go, nothing is told any more.
  std::unique_ptr<DnsSources> sources_;
};

absl::Status AresResolver::Init() {
  absl::StatusOr<std::unique_ptr<DnsSources>> sources =
      DnsSources::Create(options_, clock_, loop_);
  if (sources.ok()) sources_ = *std::move(sources);
  return sources.status();
}

// ---- Those who ask

const Resolver::Answer* AresResolver::Lookup(const std::string& host) {
  const Answer* known = cache_.Find(host, clock_.Monotonic());
  if (known != nullptr && !known->ok()) {
    // The change may be what mends it.
    if (sources_->HaveChanged()) Reload();
    known = cache_.Find(host, clock_.Monotonic());
  }
  if (known != nullptr) {
    metrics_.cache_hits.Add();
    return known;
  }
  IpAddress address;
  if (!ParseLiteral(host, &address)) return nullptr;
  literal_ = std::vector<IpAddress>{address};
  return &literal_;
}

void AresResolver::Resolve(const std::string& host, uint64_t share, Done done) {
  if (sources_->HaveChanged()) Reload();
  uint64_t& id = by_host_[host];
  if (id == 0) {
    id = ++last_id_;
    auto question = std::make_unique<Question>();
    question->host = host;
    question->deadline = clock_.Monotonic() + options_.timeout;
    deadlines_.emplace(question->deadline, id);
    questions_.emplace(id, std::move(question));
  }
  Question& question = *questions_[id];
  question.waiting.push_back(std::move(done));
  if (question.state != State::kWaiting) return;
  // Who is not first in the queue of another may be first in his own.
  if (std::find(question.shares.begin(), question.shares.end(), share) != question.shares.end()) {
    return;
  }
  Wait(id, share);
  BeginWhatMay();
}

bool AresResolver::WaitsForTurn(const std::string& host) const {
  const auto it = by_host_.find(host);
  return it != by_host_.end() && questions_.at(it->second)->state == State::kWaiting;
}

void AresResolver::Reload() {
  // What was read before goes on until the next look.
  if (!sources_->Reread()) return;
  metrics_.reloads.Add();
  cache_.ForgetFailures();
  std::vector<uint64_t> ids;
  for (const auto& [id, question] : questions_) {
    if (question->state != State::kWaiting) ids.push_back(id);
  }
  // The channels that would have answered are gone.
  for (const uint64_t id : ids) {
    Question& question = *Find(id);
    question.outstanding = 0;
    if (question.state == State::kTold) {
      EraseIfOver(id);
      continue;
    }
    deadlines_.erase({DeadlineOf(question), id});
    question.replies = {};
    question.told_at.reset();
    deadlines_.emplace(question.deadline, id);
    AskServers(id);
  }
}

// ---- A question's turn

AresResolver::Question* AresResolver::Find(uint64_t id) {
  const auto it = questions_.find(id);
  return it == questions_.end() ? nullptr : it->second.get();
}

absl::Duration AresResolver::DeadlineOf(const Question& question) const {
  return std::min(question.deadline, question.told_at.value_or(absl::InfiniteDuration()));
}

void AresResolver::Wait(uint64_t id, uint64_t share) {
  Find(id)->shares.push_back(share);
  FairTurns::Entry left_out;
  if (!turns_.Add({share, id}, &left_out)) return;
  std::vector<uint64_t>& shares = Find(left_out.id)->shares;
  shares.erase(std::find(shares.begin(), shares.end(), left_out.share));
  if (shares.empty()) Refuse(left_out.id);
}

void AresResolver::Refuse(uint64_t id) {
  Question& question = *Find(id);
  for (const uint64_t share : question.shares) turns_.Remove({share, id});
  metrics_.refused.Add();
  Tell(id, absl::ResourceExhaustedError(
               absl::StrCat("the address of ", question.host,
                            " was not looked up, since other lookups wait for their answers; "
                            "check this machine's DNS (/etc/resolv.conf), and whether many "
                            "webhooks name hosts that do not exist")));
}

void AresResolver::BeginWhatMay() {
  FairTurns::Entry next;
  while (turns_.Next(&next)) {
    Question& question = *Find(next.id);
    for (const uint64_t share : question.shares) {
      if (share != next.share) turns_.Remove({share, next.id});
    }
    question.shares = {next.share};
    question.has_place = true;
    Begin(next.id);
  }
}

void AresResolver::Begin(uint64_t id) {
  Question& question = *Find(id);
  metrics_.lookups.Add();
  question.state = State::kAsking;
  deadlines_.erase({question.deadline, id});
  question.deadline = clock_.Monotonic() + options_.timeout;
  deadlines_.emplace(question.deadline, id);
  sources_->hosts_file().Ask(question.host, AF_UNSPEC, [this, id](DnsReply reply) {
    if (reply.code != DnsCode::kOk) {
      AskServers(id);
      return;
    }
    Find(id)->replies[kV4] = std::move(reply);
    Succeed(id);
  });
}

void AresResolver::AskServers(uint64_t id) {
  // c-ares may answer before it returns, and that may be the end of the question.
  Question& question = *Find(id);
  const std::string host = question.host;
  question.outstanding = 2;
  sources_->servers().Ask(
      host, AF_INET6, [this, id](DnsReply reply) { OnReply(id, kV6, std::move(reply)); });
  sources_->servers().Ask(
      host, AF_INET, [this, id](DnsReply reply) { OnReply(id, kV4, std::move(reply)); });
}

void AresResolver::OnReply(uint64_t id, Family family, DnsReply reply) {
  Question& question = *Find(id);
  --question.outstanding;
  const bool useful = reply.code == DnsCode::kOk;
  question.replies[family] = std::move(reply);
  if (question.state == State::kAsking) {
    Consider(id);
    return;
  }
  if (useful) {
    // A lookup that began later knows better.
    const DnsReply all = Combine(question);
    cache_.Amend(question.host, question.kept_as, all.addresses, all.ttl, clock_.Monotonic());
  }
  EraseIfOver(id);
}

void AresResolver::Consider(uint64_t id) {
  Question& question = *Find(id);
  const std::optional<DnsReply>& v4 = question.replies[kV4];
  const std::optional<DnsReply>& v6 = question.replies[kV6];
  const bool found = (v4.has_value() && v4->code == DnsCode::kOk) ||
                     (v6.has_value() && v6->code == DnsCode::kOk);
  if (v4.has_value() && v6.has_value()) {
    if (found) return Succeed(id);
    const DnsCode code = Worse(v4->code, v6->code);
    if (code == DnsCode::kNoServer) return Diagnose(id);
    return Fail(id, code);
  }
  // That there is no such name is believed for A alone: there are name servers that say so of AAAA,
  // only because there is no such record (RFC 4074, section 4.2).
  if (found || (v4.has_value() && v4->code == DnsCode::kNoName)) {
    deadlines_.erase({DeadlineOf(question), id});
    question.told_at = clock_.Monotonic() + options_.second_family_wait;
    deadlines_.emplace(DeadlineOf(question), id);
  }
}

// c-ares 1.18 says that no server can be reached, too, when all have failed.
void AresResolver::Diagnose(uint64_t id) {
  Question& question = *Find(id);
  ++question.outstanding;
  sources_->first_answer().Ask(
      question.host, AF_INET, [this, id](DnsReply reply) { OnDiagnosis(id, std::move(reply)); });
}

void AresResolver::OnDiagnosis(uint64_t id, DnsReply reply) {
  Question& question = *Find(id);
  --question.outstanding;
  if (question.state == State::kTold) return EraseIfOver(id);
  const DnsCode code = reply.code;
  question.replies[kV4] = std::move(reply);
  if (code == DnsCode::kOk) return Succeed(id);
  Fail(id, code);
}

void AresResolver::OnDeadline(uint64_t id) {
  Question& question = *Find(id);
  if (question.state == State::kWaiting) return Refuse(id);
  for (const std::optional<DnsReply>& reply : question.replies) {
    if (reply.has_value() && reply->code == DnsCode::kOk) return Succeed(id);
  }
  const std::optional<DnsReply>& v4 = question.replies[kV4];
  const bool no_name = v4.has_value() && v4->code == DnsCode::kNoName;
  Fail(id, no_name ? DnsCode::kNoName : DnsCode::kTimeout);
}

// ---- The answer

void AresResolver::Succeed(uint64_t id) {
  Question& question = *Find(id);
  DnsReply all = Combine(question);
  const Answer answer = std::move(all.addresses);
  question.kept_as = cache_.Keep(question.host, answer, all.ttl, clock_.Monotonic());
  Tell(id, answer);
}

void AresResolver::Fail(uint64_t id, DnsCode code) {
  metrics_.failures.Add();
  Question& question = *Find(id);
  // What c-ares could not do for want of descriptors looks like any other failure.
  if (!CanOpenSocket()) code = DnsCode::kNoResources;
  const Answer answer = ExplainDns(code, question.host);
  if (code != DnsCode::kNoResources) {
    question.kept_as =
        cache_.Keep(question.host, answer, absl::ZeroDuration(), clock_.Monotonic());
  }
  Tell(id, answer);
}

DnsReply AresResolver::Combine(const Question& question) const {
  DnsReply all;
  all.code = DnsCode::kOk;
  all.ttl = options_.max_ttl;
  for (const std::optional<DnsReply>& reply : question.replies) {
    if (!reply.has_value() || reply->code != DnsCode::kOk) continue;
    all.addresses.insert(all.addresses.end(), reply->addresses.begin(), reply->addresses.end());
    all.ttl = std::min(all.ttl, reply->ttl);
  }
  all.addresses = InOrder(all.addresses);
  return all;
}

void AresResolver::Tell(uint64_t id, const Answer& answer) {
  Question& question = *Find(id);
  for (Done& done : question.waiting) told_.push_back({std::move(done), answer});
  question.waiting.clear();
  by_host_.erase(question.host);
  deadlines_.erase({DeadlineOf(question), id});
  question.state = State::kTold;
  // What c-ares still asks for it keeps the place only when there are too many of these.
  if (question.outstanding > 0 && question.has_place && leftovers_ < kMaxLeftovers) {
    ++leftovers_;
    question.leftover = true;
    question.has_place = false;
    turns_.End(question.shares.front());
    return;
  }
  EraseIfOver(id);
}

void AresResolver::EraseIfOver(uint64_t id) {
  const auto it = questions_.find(id);
  const Question& question = *it->second;
  if (question.outstanding > 0) return;
  if (question.has_place) turns_.End(question.shares.front());
  if (question.leftover) --leftovers_;
  questions_.erase(it);
}

// ---- The loop

void AresResolver::OnTurn() {
  const absl::Duration now = clock_.Monotonic();
  sources_->OnTurn(now);
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    OnDeadline(deadlines_.begin()->second);
  }
  BeginWhatMay();
  Deliver();
}

absl::Duration AresResolver::Deadline() const {
  if (!told_.empty()) return -absl::InfiniteDuration();
  absl::Duration deadline = sources_->Deadline();
  if (!deadlines_.empty()) deadline = std::min(deadline, deadlines_.begin()->first);
  return deadline;
}

void AresResolver::Deliver() {
  // What is told may ask again.
  std::vector<Told> told;
  told.swap(told_);
  for (Told& one : told) std::move(one.done)(one.answer);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Resolver>> MakeAresResolver(const ResolverOptions& options,
                                                           const Clock& clock, EventLoop& loop,
                                                           ResolverMetrics& metrics) {
  auto resolver = std::make_unique<AresResolver>(options, clock, loop, metrics);
  if (absl::Status status = resolver->Init(); !status.ok()) return status;
  return resolver;
}

}  // namespace postrider
