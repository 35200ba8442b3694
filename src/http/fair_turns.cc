#include "src/http/fair_turns.h"

#include <algorithm>
#include <utility>

namespace postrider {

bool FairTurns::Add(Entry entry, Entry* left_out) {
  bool left = false;
  if (waiting_ >= max_waiting_) {
    const auto longest = std::max_element(
        shares_.begin(), shares_.end(), [](const auto& one, const auto& other) {
          return one.second.waiting.size() < other.second.waiting.size();
        });
    const auto own = shares_.find(entry.share);
    const size_t own_size = own == shares_.end() ? 0 : own->second.waiting.size();
    *left_out = entry;
    if (longest == shares_.end() || longest->second.waiting.size() <= own_size) return true;
    *left_out = {longest->first, longest->second.waiting.back()};
    Remove(*left_out);
    left = true;
  }
  Share& share = shares_[entry.share];
  if (share.waiting.empty() &&
      std::find(turns_.begin(), turns_.end(), entry.share) == turns_.end()) {
    turns_.push_back(entry.share);
  }
  share.waiting.push_back(entry.id);
  ++waiting_;
  return left;
}

void FairTurns::Remove(Entry entry) {
  const auto share = shares_.find(entry.share);
  if (share == shares_.end()) return;
  std::deque<uint64_t>& waiting = share->second.waiting;
  // Who goes is mostly the last, left out for another, or the first, whose time is over.
  const auto found = !waiting.empty() && waiting.back() == entry.id
                         ? std::prev(waiting.end())
                         : std::find(waiting.begin(), waiting.end(), entry.id);
  if (found == waiting.end()) return;
  waiting.erase(found);
  --waiting_;
  EraseIfUnused(entry.share);
}

bool FairTurns::Next(Entry* entry) {
  const size_t free = places_ - taken_;
  if (free == 0) return false;
  for (size_t looks = turns_.size(); looks > 0; --looks) {
    const uint64_t turn = turns_.front();
    turns_.pop_front();
    const auto share = shares_.find(turn);
    if (share == shares_.end() || share->second.waiting.empty()) continue;
    if (share->second.taken >= kTimesFree * free) {
      turns_.push_back(turn);
      continue;
    }
    *entry = {turn, share->second.waiting.front()};
    share->second.waiting.pop_front();
    --waiting_;
    if (!share->second.waiting.empty()) turns_.push_back(turn);
    ++share->second.taken;
    ++taken_;
    return true;
  }
  return false;
}

void FairTurns::End(uint64_t share) {
  --shares_[share].taken;
  --taken_;
  EraseIfUnused(share);
}

void FairTurns::EraseIfUnused(uint64_t share) {
  const auto it = shares_.find(share);
  if (it->second.waiting.empty() && it->second.taken == 0) shares_.erase(it);
}

}  // namespace postrider
