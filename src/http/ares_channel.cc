#include "src/http/ares_channel.h"

#include <ares.h>
#include <netdb.h>
#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace postrider {
namespace {

// How exactly its timers are kept. To ask c-ares for the next of them at each turn would mean that
// it walks all its questions at each turn.
constexpr absl::Duration kLookEvery = absl::Milliseconds(50);
// Kept of one answer: more than a request tries. A name can have thousands, as its owner likes, and
// answers are cached.
constexpr size_t kMaxAddresses = 24;

absl::Status InitAresOnce() {
  static const int code = ares_library_init(ARES_LIB_INIT_ALL);
  if (code == ARES_SUCCESS) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("c-ares cannot start: ", ares_strerror(code)));
}

DnsCode CodeOf(int code) {
  switch (code) {
    case ARES_SUCCESS:
      return DnsCode::kOk;
    case ARES_EBADNAME:
      return DnsCode::kBadName;
    case ARES_ENOTFOUND:
      return DnsCode::kNoName;
    case ARES_ENODATA:
      return DnsCode::kNoAddress;
    case ARES_EREFUSED:
      return DnsCode::kRefused;
    case ARES_ESERVFAIL:
      return DnsCode::kServerFailed;
    case ARES_ETIMEOUT:
      return DnsCode::kTimeout;
    case ARES_ECONNREFUSED:
      return DnsCode::kNoServer;
    case ARES_ENOMEM:
      return DnsCode::kNoResources;
    default:
      return DnsCode::kBadAnswer;
  }
}

}  // namespace

// Owned by c-ares until it calls back.
struct AresChannel::Question {
  AresChannel* channel;
  Done done;
};

absl::StatusOr<std::unique_ptr<AresChannel>> AresChannel::Create(const Options& options,
                                                                 EventLoop& loop) {
  if (absl::Status status = InitAresOnce(); !status.ok()) return status;
  std::unique_ptr<AresChannel> channel(new AresChannel(loop));
  if (absl::Status status = channel->Init(options); !status.ok()) return status;
  return channel;
}

absl::Status AresChannel::Init(const Options& options) {
  std::string lookups = options.source == Source::kHostsFile ? "f" : "b";
  std::string resolv_conf = options.resolv_conf;
  ares_options ares{};
  ares.sock_state_cb = &AresChannel::OnSocketState;
  ares.sock_state_cb_data = this;
  ares.timeout = std::max(1, static_cast<int>(absl::ToInt64Milliseconds(options.try_timeout)));
  ares.tries = options.tries;
  ares.lookups = lookups.data();
  int mask = ARES_OPT_SOCK_STATE_CB | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS;
  if (!resolv_conf.empty()) {
    ares.resolvconf_path = resolv_conf.data();
    mask |= ARES_OPT_RESOLVCONF;
  }
  if (options.port != 0) {
    ares.udp_port = options.port;
    ares.tcp_port = options.port;
    mask |= ARES_OPT_UDP_PORT | ARES_OPT_TCP_PORT;
  }
  if (options.source == Source::kFirstAnswer) {
    ares.flags = ARES_FLAG_NOCHECKRESP;
    mask |= ARES_OPT_FLAGS;
  }
#ifdef ARES_OPT_QUERY_CACHE
  // Since 1.31: it would keep answers beside, and longer than, the resolver's own cache.
  ares.qcache_max_ttl = 0;
  mask |= ARES_OPT_QUERY_CACHE;
#endif
  if (const int code = ares_init_options(&channel_, &ares, mask); code != ARES_SUCCESS) {
    channel_ = nullptr;
    return absl::InternalError(absl::StrCat("c-ares cannot start: ", ares_strerror(code)));
  }
  ares_set_socket_callback(channel_, &AresChannel::OnSocketOpened, this);
  if (options.servers.empty()) return absl::OkStatus();
  if (const int code = ares_set_servers_ports_csv(channel_, options.servers.c_str());
      code != ARES_SUCCESS) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", options.servers, "' names no name servers: ", ares_strerror(code)));
  }
  return absl::OkStatus();
}

AresChannel::~AresChannel() {
  destroyed_ = true;
  if (channel_ != nullptr) ares_destroy(channel_);
}

void AresChannel::Ask(const std::string& host, int family, Done done) {
  ares_addrinfo_hints hints{};
  hints.ai_family = family;
  hints.ai_socktype = SOCK_STREAM;
  // To sort them, c-ares would open a socket for each address.
  hints.ai_flags = ARES_AI_NUMERICSERV | ARES_AI_NOSORT;
  ++pending_;
  ares_getaddrinfo(channel_, host.c_str(), nullptr, &hints, &AresChannel::OnAnswer,
                   new Question{this, std::move(done)});
}

void AresChannel::OnTurn(absl::Duration now) {
  if (pending_ == 0 || now < next_look_) return;
  next_look_ = now + kLookEvery;
  ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

absl::Duration AresChannel::Deadline() const {
  return pending_ == 0 ? absl::InfiniteDuration() : next_look_;
}

void AresChannel::OnReady(int fd, uint32_t events) {
  const bool broken = (events & (EPOLLERR | EPOLLHUP)) != 0;
  ares_process_fd(channel_, (events & EPOLLIN) != 0 || broken ? fd : ARES_SOCKET_BAD,
                  (events & EPOLLOUT) != 0 || broken ? fd : ARES_SOCKET_BAD);
}

// ---- c-ares calls back

int AresChannel::OnSocketOpened(int fd, int, void* self_pointer) {
  // libcurl may have closed one of this number behind the loop's back: see curl_handle.h.
  static_cast<AresChannel*>(self_pointer)->loop_.Forget(fd);
  return 0;
}

void AresChannel::OnSocketState(void* self_pointer, int fd, int readable, int writable) {
  auto* const self = static_cast<AresChannel*>(self_pointer);
  if (readable == 0 && writable == 0) {
    self->loop_.Unwatch(fd);
    return;
  }
  self->loop_.Watch(fd, (readable != 0 ? EPOLLIN : 0u) | (writable != 0 ? EPOLLOUT : 0u), self);
}

void AresChannel::OnAnswer(void* question_pointer, int code, int, ares_addrinfo* info) {
  const std::unique_ptr<ares_addrinfo, decltype(&ares_freeaddrinfo)> owned(info,
                                                                          &ares_freeaddrinfo);
  const std::unique_ptr<Question> question(static_cast<Question*>(question_pointer));
  AresChannel& self = *question->channel;
  --self.pending_;
  if (self.destroyed_) return;
  DnsReply reply;
  reply.code = CodeOf(code);
  if (code == ARES_SUCCESS) {
    reply.ttl = absl::InfiniteDuration();
    for (const ares_addrinfo_node* node = info->nodes; node != nullptr; node = node->ai_next) {
      const absl::StatusOr<IpAddress> address = IpAddress::FromSockaddr(node->ai_addr);
      if (!address.ok()) continue;
      reply.ttl = std::min(reply.ttl, absl::Seconds(node->ai_ttl));
      if (std::find(reply.addresses.begin(), reply.addresses.end(), *address) ==
          reply.addresses.end()) {
        reply.addresses.push_back(*address);
        if (reply.addresses.size() == kMaxAddresses) break;
      }
    }
    if (reply.addresses.empty()) reply.code = DnsCode::kNoAddress;
  }
  std::move(question->done)(std::move(reply));
}

}  // namespace postrider
