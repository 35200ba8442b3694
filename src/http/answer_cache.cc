#include "src/http/answer_cache.h"

#include <algorithm>
#include <utility>

namespace postrider {
namespace {

// Beyond it the longest time is reached, whatever the shortest one is.
constexpr int kMaxFailures = 30;

}  // namespace

const AnswerCache::Answer* AnswerCache::Find(const std::string& host, absl::Duration now) {
  const auto it = by_host_.find(host);
  if (it == by_host_.end() || now >= it->second->until) return nullptr;
  entries_.splice(entries_.begin(), entries_, it->second);
  return &it->second->answer;
}

uint64_t AnswerCache::Keep(const std::string& host, Answer answer, absl::Duration ttl,
                           absl::Duration now) {
  int failures = answer.ok() ? 0 : 1;
  if (const auto it = by_host_.find(host); it != by_host_.end()) {
    if (!answer.ok()) failures = std::min(it->second->failures + 1, kMaxFailures);
    entries_.erase(it->second);
    by_host_.erase(it);
  }
  const absl::Duration holds =
      answer.ok() ? std::clamp(ttl, min_ttl_, max_ttl_)
                  : std::min(min_ttl_ * (int64_t{1} << (failures - 1)), max_failure_ttl_);
  entries_.push_front({host, std::move(answer), now + holds, failures, ++last_name_});
  by_host_.emplace(host, entries_.begin());
  if (entries_.size() > max_hosts_) {
    by_host_.erase(entries_.back().host);
    entries_.pop_back();
  }
  return last_name_;
}

void AnswerCache::Amend(const std::string& host, uint64_t entry, Answer answer, absl::Duration ttl,
                        absl::Duration now) {
  const auto it = by_host_.find(host);
  if (it == by_host_.end() || it->second->name != entry) return;
  Keep(host, std::move(answer), ttl, now);
}

void AnswerCache::ForgetFailures() {
  for (auto it = entries_.begin(); it != entries_.end();) {
    const auto current = it++;
    if (current->answer.ok()) continue;
    by_host_.erase(current->host);
    entries_.erase(current);
  }
}

}  // namespace postrider
