#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace postrider {

// Which socket a connection has, which libcurl names by its two ends alone when it is about to send
// a request over it.
//
// Owned by one thread.
class ConnectionTable {
 public:
  struct Ends {
    std::string_view remote_ip;
    int remote_port = 0;
    std::string_view local_ip;
    int local_port = 0;

    bool operator==(const Ends&) const = default;
    template <typename H>
    friend H AbslHashValue(H hash, const Ends& ends) {
      return H::combine(std::move(hash), ends.remote_ip, ends.remote_port, ends.local_ip,
                        ends.local_port);
    }
  };

  // Any other connection that had this descriptor, or these ends, is gone.
  void Add(int fd, const Ends& ends) {
    Remove(fd);
    const int older = Find(ends);
    if (older >= 0) Remove(older);
    if (static_cast<size_t>(fd) >= entries_.size()) entries_.resize(static_cast<size_t>(fd) + 1);
    entries_[fd] = std::make_unique<Entry>(
        Entry{std::string(ends.remote_ip), std::string(ends.local_ip), {}});
    Entry& entry = *entries_[fd];
    entry.ends = {entry.remote_ip, ends.remote_port, entry.local_ip, ends.local_port};
    by_ends_[entry.ends] = fd;
  }

  // Of one that is not there, too.
  void Remove(int fd) {
    if (static_cast<size_t>(fd) >= entries_.size() || entries_[fd] == nullptr) return;
    by_ends_.erase(entries_[fd]->ends);
    entries_[fd].reset();
  }

  // -1 when there is none.
  int Find(const Ends& ends) const {
    const auto it = by_ends_.find(ends);
    return it == by_ends_.end() ? -1 : it->second;
  }

 private:
  struct Entry {
    std::string remote_ip;
    std::string local_ip;
    Ends ends;
  };

  std::vector<std::unique_ptr<Entry>> entries_;  // by descriptor
  // The keys' text belongs to the entries.
  absl::flat_hash_map<Ends, int> by_ends_;
};

}  // namespace postrider
