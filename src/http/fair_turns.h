#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

#include "absl/container/flat_hash_map.h"

namespace postrider {

// Who may begin next, of many who want places that are few: the places are shared by those who want
// some ("shares", such as tenants), never first come, first served.
//
// Shares that wait are served in turn. One may have at most eight times as many places as are free,
// so that some always are (Choudhury and Hahne, "Dynamic queue lengths"): one that is alone gets
// eight ninths of them, ten get an equal part each, and a newcomer finds a free one at once, or,
// with more than a hundred others, is the next to get one.
//
// Who waits is bounded. When that is full, the longest queue gives up its last for who comes.
//
// Not built on FairQueue (base/fair_queue.h): that has no places to give back, takes nobody out of
// the middle, and costs each request a lock.
//
// Not thread-safe.
class FairTurns {
 public:
  FairTurns(size_t places, size_t max_waiting) : places_(places), max_waiting_(max_waiting) {}

  struct Entry {
    uint64_t share = 0;
    uint64_t id = 0;
  };

  // Lets it wait for its turn. True when another has to go for it, or it itself: `*left_out`, which
  // waits no more.
  bool Add(Entry entry, Entry* left_out);
  // It waits no more. Does nothing when it does not wait.
  void Remove(Entry entry);
  // True when somebody may begin; it has a place from now on.
  bool Next(Entry* entry);
  // One of the share's places is free again.
  void End(uint64_t share);

  size_t waiting() const { return waiting_; }
  size_t taken() const { return taken_; }

 private:
  static constexpr size_t kTimesFree = 8;

  struct Share {
    std::deque<uint64_t> waiting;
    size_t taken = 0;
  };
  void EraseIfUnused(uint64_t share);

  const size_t places_;
  const size_t max_waiting_;
  size_t waiting_ = 0;
  size_t taken_ = 0;
  absl::flat_hash_map<uint64_t, Share> shares_;
  // Shares that wait, the next one first; each once. One whose queue was emptied may still be here.
  std::deque<uint64_t> turns_;
};

}  // namespace postrider
