#include "src/http/dns_sources.h"

#include <algorithm>
#include <utility>

namespace postrider {
namespace {

// Two tries fit into the time that a lookup has.
constexpr int kTriesPerServer = 2;
constexpr int kTriesPerLookup = 3;

}  // namespace

DnsSources::DnsSources(const ResolverOptions& options, const Clock& clock, EventLoop& loop)
    : options_(options),
      clock_(clock),
      loop_(loop),
      read_(options),
      next_check_(clock.Monotonic() + options.config_check_period) {}

absl::StatusOr<std::unique_ptr<DnsSources>> DnsSources::Create(const ResolverOptions& options,
                                                               const Clock& clock,
                                                               EventLoop& loop) {
  std::unique_ptr<DnsSources> sources(new DnsSources(options, clock, loop));
  for (const auto& [source, channel] :
       {std::pair{AresChannel::Source::kHostsFile, &sources->hosts_file_},
        {AresChannel::Source::kNameServers, &sources->servers_},
        {AresChannel::Source::kFirstAnswer, &sources->first_answer_}}) {
    absl::StatusOr<std::unique_ptr<AresChannel>> opened = sources->Open(source);
    if (!opened.ok()) return opened.status();
    *channel = *std::move(opened);
  }
  return sources;
}

absl::StatusOr<std::unique_ptr<AresChannel>> DnsSources::Open(AresChannel::Source source) const {
  AresChannel::Options channel;
  channel.source = source;
  channel.try_timeout = options_.timeout / kTriesPerLookup;
  channel.tries = kTriesPerServer;
  channel.resolv_conf = options_.resolv_conf;
  channel.servers = options_.servers;
  channel.port = options_.port;
  return AresChannel::Create(channel, loop_);
}

bool DnsSources::HaveChanged() {
  const absl::Duration now = clock_.Monotonic();
  if (now < next_check_) return false;
  next_check_ = now + options_.config_check_period;
  return Stamps(options_) != read_;
}

bool DnsSources::Reread() {
  // Before they are read: what changes meanwhile is seen at the next look.
  const Stamps stamps(options_);
  auto servers = Open(AresChannel::Source::kNameServers);
  auto first = Open(AresChannel::Source::kFirstAnswer);
  if (!servers.ok() || !first.ok()) return false;
  servers_ = *std::move(servers);
  first_answer_ = *std::move(first);
  read_ = stamps;
  return true;
}

void DnsSources::OnTurn(absl::Duration now) {
  servers_->OnTurn(now);
  first_answer_->OnTurn(now);
}

absl::Duration DnsSources::Deadline() const {
  return std::min(servers_->Deadline(), first_answer_->Deadline());
}

}  // namespace postrider
