#include "src/http/resolver.h"

#include <ares.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <list>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"

namespace postrider {
namespace {

// Lookups under way; a name server that does not answer must not pile them up.
constexpr size_t kMaxLookups = 1024;
constexpr int kTriesPerServer = 2;

absl::Status InitAresOnce() {
  static const int code = ares_library_init(ARES_LIB_INIT_ALL);
  if (code == ARES_SUCCESS) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("c-ares cannot start: ", ares_strerror(code)));
}

absl::Status Explain(int code, const std::string& host) {
  switch (code) {
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
    case ARES_EBADNAME:
      return absl::NotFoundError(absl::StrCat("the host ", host,
                                              " has no address in DNS; correct the URL, or wait "
                                              "until its record is there"));
    case ARES_ETIMEOUT:
      return absl::DeadlineExceededError(
          absl::StrCat("no name server told the address of ", host,
                       " in time; check this machine's DNS (/etc/resolv.conf)"));
    default:
      return absl::UnavailableError(absl::StrCat("the address of ", host,
                                                 " cannot be looked up: ", ares_strerror(code),
                                                 "; check this machine's DNS (/etc/resolv.conf)"));
  }
}

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

class AresResolver final : public Resolver, EventLoop::Watcher, EventLoop::Timed {
 public:
  AresResolver(const ResolverOptions& options, const Clock& clock, EventLoop& loop,
               ResolverMetrics& metrics)
      : options_(options), clock_(clock), loop_(loop), metrics_(metrics) {
    loop_.AddTimed(this);
  }
  ~AresResolver() override;

  absl::Status Init();

  const Answer* Lookup(const std::string& host) override;
  void Resolve(const std::string& host, Done done) override;

 private:
  // One question, and all who wait for its answer.
  struct Question {
    AresResolver* resolver;
    std::string host;
    absl::Duration deadline;
    std::vector<Done> waiting;
  };
  struct Cached {
    std::string host;
    Answer answer;
    absl::Duration until;
  };

  static int OnSocketOpened(ares_socket_t fd, int type, void* self);
  static void OnSocketState(void* self, ares_socket_t fd, int readable, int writable);
  static void OnAnswer(void* question, int code, int timeouts, ares_addrinfo* info);

  void OnReady(int fd, uint32_t events) override;
  void OnTurn() override;
  absl::Duration Deadline() const override;

  void Ask(Question* question);
  void Finish(Question* question, int code, const ares_addrinfo* info);
  void Keep(const std::string& host, const Answer& answer, absl::Duration ttl);
  void GiveUpLate();
  void Deliver();

  const ResolverOptions options_;
  const Clock& clock_;
  EventLoop& loop_;
  ResolverMetrics& metrics_;
  ares_channel channel_ = nullptr;
  bool destroyed_ = false;

  absl::flat_hash_map<std::string, std::unique_ptr<Question>> questions_;
  // Answered, but c-ares may still hold them: they end when it calls back.
  std::vector<std::unique_ptr<Question>> abandoned_;
  // The most recently used first.
  std::list<Cached> cache_;
  absl::flat_hash_map<std::string, std::list<Cached>::iterator> cached_;
  Answer literal_;

  struct Told {
    Done done;
    Answer answer;
  };
  std::vector<Told> told_;
};

AresResolver::~AresResolver() {
  destroyed_ = true;
  if (channel_ != nullptr) ares_destroy(channel_);
}

absl::Status AresResolver::Init() {
  if (absl::Status status = InitAresOnce(); !status.ok()) return status;
  ares_options ares{};
  ares.sock_state_cb = &AresResolver::OnSocketState;
  ares.sock_state_cb_data = this;
  // Two tries fit into the time that a lookup has.
  ares.timeout = std::max(1, static_cast<int>(absl::ToInt64Milliseconds(options_.timeout) / 3));
  ares.tries = kTriesPerServer;
  const int mask = ARES_OPT_SOCK_STATE_CB | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES;
  if (const int code = ares_init_options(&channel_, &ares, mask); code != ARES_SUCCESS) {
    channel_ = nullptr;
    return absl::InternalError(absl::StrCat("c-ares cannot start: ", ares_strerror(code)));
  }
  ares_set_socket_callback(channel_, &AresResolver::OnSocketOpened, this);
  if (options_.servers.empty()) return absl::OkStatus();
  if (const int code = ares_set_servers_ports_csv(channel_, options_.servers.c_str());
      code != ARES_SUCCESS) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", options_.servers, "' names no name servers: ", ares_strerror(code)));
  }
  return absl::OkStatus();
}

const Resolver::Answer* AresResolver::Lookup(const std::string& host) {
  if (const auto it = cached_.find(host); it != cached_.end()) {
    if (clock_.Monotonic() < it->second->until) {
      metrics_.cache_hits.Add();
      cache_.splice(cache_.begin(), cache_, it->second);
      return &it->second->answer;
    }
    cache_.erase(it->second);
    cached_.erase(it);
  }
  IpAddress address;
  if (!ParseLiteral(host, &address)) return nullptr;
  literal_ = std::vector<IpAddress>{address};
  return &literal_;
}

void AresResolver::Resolve(const std::string& host, Done done) {
  if (const auto it = questions_.find(host); it != questions_.end()) {
    it->second->waiting.push_back(std::move(done));
    return;
  }
  if (questions_.size() + abandoned_.size() >= kMaxLookups) {
    metrics_.failures.Add();
    told_.push_back(
        {std::move(done), absl::UnavailableError(absl::StrCat(
                              "the address of ", host, " was not looked up: ", kMaxLookups,
                              " other lookups wait for an answer; check this "
                              "machine's DNS (/etc/resolv.conf)"))});
    return;
  }
  metrics_.lookups.Add();
  auto question = std::make_unique<Question>();
  question->resolver = this;
  question->host = host;
  question->deadline = clock_.Monotonic() + options_.timeout;
  question->waiting.push_back(std::move(done));
  Question* const asked = question.get();
  questions_.emplace(host, std::move(question));
  Ask(asked);
}

void AresResolver::Ask(Question* question) {
  ares_addrinfo_hints hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = ARES_AI_NUMERICSERV;
  // May call back before it returns; the answer is told at the end of the turn all the same.
  ares_getaddrinfo(channel_, question->host.c_str(), nullptr, &hints, &AresResolver::OnAnswer,
                   question);
}

// ---- c-ares calls back

int AresResolver::OnSocketOpened(ares_socket_t fd, int, void* self_pointer) {
  // libcurl may have closed one of this number behind the loop's back: see curl_handle.h.
  static_cast<AresResolver*>(self_pointer)->loop_.Forget(fd);
  return 0;
}

void AresResolver::OnSocketState(void* self_pointer, ares_socket_t fd, int readable, int writable) {
  auto* const self = static_cast<AresResolver*>(self_pointer);
  if (readable == 0 && writable == 0) {
    self->loop_.Unwatch(fd);
    return;
  }
  self->loop_.Watch(fd, (readable != 0 ? EPOLLIN : 0u) | (writable != 0 ? EPOLLOUT : 0u), self);
}

void AresResolver::OnAnswer(void* question_pointer, int code, int, ares_addrinfo* info) {
  auto* const question = static_cast<Question*>(question_pointer);
  AresResolver* const self = question->resolver;
  if (!self->destroyed_) self->Finish(question, code, info);
  if (info != nullptr) ares_freeaddrinfo(info);
}

void AresResolver::Finish(Question* question, int code, const ares_addrinfo* info) {
  const auto abandoned =
      std::find_if(abandoned_.begin(), abandoned_.end(),
                   [question](const auto& other) { return other.get() == question; });
  if (abandoned != abandoned_.end()) {
    abandoned_.erase(abandoned);
    return;
  }
  Answer answer;
  absl::Duration ttl = options_.max_ttl;
  std::vector<IpAddress> addresses;
  if (code == ARES_SUCCESS) {
    for (const ares_addrinfo_node* node = info->nodes; node != nullptr; node = node->ai_next) {
      const absl::StatusOr<IpAddress> address = IpAddress::FromSockaddr(node->ai_addr);
      if (!address.ok()) continue;
      ttl = std::min(ttl, absl::Seconds(node->ai_ttl));
      if (std::find(addresses.begin(), addresses.end(), *address) == addresses.end()) {
        addresses.push_back(*address);
      }
    }
    if (addresses.empty()) code = ARES_ENODATA;
  }
  if (code == ARES_SUCCESS) {
    answer = std::move(addresses);
  } else {
    metrics_.failures.Add();
    answer = Explain(code, question->host);
    ttl = options_.min_ttl;
  }
  Keep(question->host, answer, std::max(ttl, options_.min_ttl));
  for (Done& done : question->waiting) told_.push_back({std::move(done), answer});
  questions_.erase(question->host);
}

void AresResolver::Keep(const std::string& host, const Answer& answer, absl::Duration ttl) {
  if (const auto it = cached_.find(host); it != cached_.end()) {
    cache_.erase(it->second);
    cached_.erase(it);
  }
  cache_.push_front({host, answer, clock_.Monotonic() + ttl});
  cached_.emplace(host, cache_.begin());
  if (cache_.size() > options_.max_cached_hosts) {
    cached_.erase(cache_.back().host);
    cache_.pop_back();
  }
}

// ---- The loop

void AresResolver::OnReady(int fd, uint32_t events) {
  const bool broken = (events & (EPOLLERR | EPOLLHUP)) != 0;
  ares_process_fd(channel_, (events & EPOLLIN) != 0 || broken ? fd : ARES_SOCKET_BAD,
                  (events & EPOLLOUT) != 0 || broken ? fd : ARES_SOCKET_BAD);
}

void AresResolver::OnTurn() {
  if (!questions_.empty() || !abandoned_.empty()) {
    ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    GiveUpLate();
  }
  Deliver();
}

absl::Duration AresResolver::Deadline() const {
  if (!told_.empty()) return -absl::InfiniteDuration();
  if (questions_.empty() && abandoned_.empty()) return absl::InfiniteDuration();
  absl::Duration deadline = absl::InfiniteDuration();
  for (const auto& [host, question] : questions_) {
    deadline = std::min(deadline, question->deadline);
  }
  timeval left;
  if (const timeval* const next = ares_timeout(channel_, nullptr, &left)) {
    deadline = std::min(deadline, clock_.Monotonic() + absl::DurationFromTimeval(*next));
  }
  return deadline;
}

// c-ares bounds each try, not the whole.
void AresResolver::GiveUpLate() {
  const absl::Duration now = clock_.Monotonic();
  for (auto it = questions_.begin(); it != questions_.end();) {
    const auto current = it++;
    if (current->second->deadline > now) continue;
    metrics_.failures.Add();
    const Answer answer = Explain(ARES_ETIMEOUT, current->first);
    Keep(current->first, answer, options_.min_ttl);
    for (Done& done : current->second->waiting) told_.push_back({std::move(done), answer});
    abandoned_.push_back(std::move(current->second));
    questions_.erase(current);
  }
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
