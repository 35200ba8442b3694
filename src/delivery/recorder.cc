#include "src/delivery/recorder.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace postrider {
namespace {

constexpr absl::Duration kFirstBackoff = absl::Seconds(1);
constexpr absl::Duration kMaxBackoff = absl::Seconds(10);
// So many wait for no more.
constexpr size_t kFullBatch = 512;

bool IsFinal(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsUnknown(status);
}

}  // namespace

void Recorder::Add(Item* item, AttemptOutcome outcome, bool urgent) {
  next_is_urgent_ |= urgent;
  next_.items.push_back(item);
  next_.rows.outcomes.push_back(std::move(outcome));
}

absl::Duration Recorder::next_flush() const {
  if (stopped_) return absl::InfiniteDuration();
  if (refused_) {
    return under_way_ > 0 ? absl::InfiniteDuration()
                          : offer_at_.value_or(-absl::InfiniteDuration());
  }
  if (empty()) return absl::InfiniteDuration();
  const bool at_once = next_is_urgent_ || next_.items.size() >= kFullBatch;
  return at_once || !next_since_ ? -absl::InfiniteDuration() : *next_since_ + linger_;
}

void Recorder::Flush(absl::Duration mono) {
  if (refused_ && !offer_at_.has_value()) offer_at_ = mono + backoff_;
  if (!empty() && !next_since_) next_since_ = mono;
  if (next_flush() > mono) return;
  next_since_.reset();
  next_is_urgent_ = false;
  if (empty()) {
    // What was refused has lost its meaning (its webhook is deleted): the next batch will show.
    refused_ = false;
    return;
  }
  const uint64_t number = ++last_number_;
  ++under_way_;
  Batch batch = std::exchange(next_, Batch());
  const size_t size = batch.items.size();
  next_.items.reserve(size);
  next_.rows.outcomes.reserve(size);
  // The outbox gets a copy: what it cannot take is offered again.
  OutcomeBatch rows = batch.rows;
  outbox_.RecordOutcomes(std::move(rows), [this, &home = home_, batch = std::move(batch),
                                           number](absl::Status status) mutable {
    home.Post([this, batch = std::move(batch), number, status = std::move(status)]() mutable {
      OnAnswer(std::move(batch), number, status);
    });
  });
}

void Recorder::OnAnswer(Batch batch, uint64_t number, const absl::Status& status) {
  --under_way_;
  if (!status.ok()) {
    failures_.Add();
    TakeBack(std::move(batch));
    if (IsFinal(status)) stopped_ = true;
    // Batches that overlapped are refused together: that is one refusal.
    if (!refused_ || number > refused_number_) {
      backoff_ = refused_ ? std::min(backoff_ * 2, kMaxBackoff) : kFirstBackoff;
      refused_number_ = last_number_;
      offer_at_.reset();
    }
    refused_ = true;
    return;
  }
  for (size_t i = 0; i < batch.items.size(); ++i) {
    host_.OnRecorded(batch.items[i], batch.rows.outcomes[i]);
  }
  if (number > refused_number_) refused_ = false;
}

void Recorder::TakeBack(Batch batch) {
  for (const WebhookHealth& health : batch.rows.health) host_.OnHealthRefused(health.webhook);
  // The order does not matter: a delivery has no other outcome before this one is on disk.
  std::move(batch.rows.outcomes.begin(), batch.rows.outcomes.end(),
            std::back_inserter(next_.rows.outcomes));
  next_.items.insert(next_.items.end(), batch.items.begin(), batch.items.end());
}

}  // namespace postrider
