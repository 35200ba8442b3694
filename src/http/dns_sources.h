#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "src/base/clock.h"
#include "src/http/ares_channel.h"
#include "src/http/event_loop.h"
#include "src/http/file_stamp.h"
#include "src/http/resolver.h"

namespace postrider {

// Where a resolver asks: the machine's hosts file and its name servers, as its files name them.
//
// Everything belongs to the loop's thread. Clock and loop must outlive it.
class DnsSources {
 public:
  static absl::StatusOr<std::unique_ptr<DnsSources>> Create(const ResolverOptions& options,
                                                            const Clock& clock, EventLoop& loop);
  // Questions without an answer are dropped: their `done` is not called.
  ~DnsSources() = default;
  DnsSources(const DnsSources&) = delete;
  DnsSources& operator=(const DnsSources&) = delete;

  AresChannel& hosts_file() { return *hosts_file_; }
  AresChannel& servers() { return *servers_; }
  // Tells how the servers fail.
  AresChannel& first_answer() { return *first_answer_; }

  // Whether resolv.conf or the hosts file is another one than was read. Looks at most once in
  // `config_check_period`, and says no in between.
  bool HaveChanged();
  // Reads the name servers anew; what was asked of the old ones is dropped. False, and nothing has
  // changed, for want of descriptors or memory.
  bool Reread();

  // As of AresChannel.
  void OnTurn(absl::Duration now);
  absl::Duration Deadline() const;

 private:
  struct Stamps {
    explicit Stamps(const ResolverOptions& options)
        : resolv_conf(options.resolv_conf), hosts_file(options.hosts_file) {}
    bool operator==(const Stamps&) const = default;

    FileStamp resolv_conf;
    FileStamp hosts_file;
  };

  DnsSources(const ResolverOptions& options, const Clock& clock, EventLoop& loop);
  absl::StatusOr<std::unique_ptr<AresChannel>> Open(AresChannel::Source source) const;

  const ResolverOptions options_;
  const Clock& clock_;
  EventLoop& loop_;
  // Of the files that were read.
  Stamps read_;
  absl::Duration next_check_;
  std::unique_ptr<AresChannel> hosts_file_;
  std::unique_ptr<AresChannel> servers_;
  std::unique_ptr<AresChannel> first_answer_;
};

}  // namespace postrider
