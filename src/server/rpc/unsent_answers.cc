#include "src/server/rpc/unsent_answers.h"

#include "src/base/clock.h"

namespace postrider {

void UnsentAnswers::Add(Entry* entry) {
  entry->since_ = SystemClock().Monotonic();
  MutexLock lock(&mutex_);
  entry->place_ = answers_.insert(answers_.end(), entry);
}

void UnsentAnswers::Remove(Entry* entry) {
  MutexLock lock(&mutex_);
  answers_.erase(entry->place_);
}

void UnsentAnswers::GiveUpOlderThan(absl::Duration age) {
  const absl::Duration before = SystemClock().Monotonic() - age;
  MutexLock lock(&mutex_);
  for (Entry* entry : answers_) {
    if (entry->since_ >= before) break;
    entry->GiveUp();
  }
}

}  // namespace postrider
