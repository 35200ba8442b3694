#include "src/http/shared_transport.h"

#include <utility>

#include "absl/hash/hash.h"

namespace postrider {
namespace {

// A receiver is served by one thread while it has no more than this under way.
constexpr size_t kFew = 8;
// A helper must have so many less under way: it has work of its own, and handing over has its cost.
constexpr int kMargin = 4;

}  // namespace

// The way to a helper, and back. GiveBack belongs to the helper's thread, the rest to the owner's.
class SharedTransport::Lane {
 public:
  Lane(SharedTransport& owner, SharedTransport& helper) : owner_(owner), helper_(helper) {}

  // What the helper has under way, and will soon have.
  int load() const {
    return helper_.load_.load(std::memory_order_relaxed) + static_cast<int>(requests_.size());
  }

  // True for the first one since Submit.
  bool Add(uint32_t slot, uint32_t use, TransferRequest request) {
    requests_.push_back({slot, use, std::move(request)});
    return requests_.size() == 1;
  }
  void Clear() { requests_.clear(); }

  void Submit() {
    helper_.home_.Post([this, requests = std::exchange(requests_, {})]() mutable {
      for (Handed<TransferRequest>& handed : requests) Send(handed);
    });
  }

  void GiveBack() {
    owner_.home_.Post([&owner = owner_, results = std::exchange(results_, {})]() mutable {
      for (Handed<TransferResult>& handed : results) {
        if (owner.slots_[handed.slot].uses != handed.use) continue;
        owner.End(handed.slot, std::move(handed.what));
      }
    });
  }

 private:
  template <typename T>
  struct Handed {
    uint32_t slot;
    uint32_t use;
    T what;
  };

  void Send(Handed<TransferRequest>& handed) {
    helper_.AddToLoad(1);
    helper_.own_.Send(std::move(handed.what),
                      [this, slot = handed.slot, use = handed.use](TransferResult result) {
                        helper_.AddToLoad(-1);
                        if (results_.empty()) helper_.returning_.push_back(this);
                        results_.push_back({slot, use, std::move(result)});
                      });
  }

  SharedTransport& owner_;
  SharedTransport& helper_;
  std::vector<Handed<TransferRequest>> requests_;
  std::vector<Handed<TransferResult>> results_;
};

SharedTransport::SharedTransport(Executor& home, Transport& own, Counter& handed_over)
    : home_(home), own_(own), handed_over_(handed_over) {}
SharedTransport::~SharedTransport() = default;

void SharedTransport::Connect(const std::vector<SharedTransport*>& all) {
  for (SharedTransport* const owner : all) {
    for (SharedTransport* const helper : all) {
      if (owner != helper) owner->lanes_.push_back(std::make_unique<Lane>(*owner, *helper));
    }
  }
}

void SharedTransport::Send(TransferRequest request, Done done) {
  const HttpTarget* const target = request.target.get();
  Lane* const lane = Choose(target, ++under_way_[target]);
  const uint32_t slot = TakeSlot(target, std::move(done));
  if (lane == nullptr) {
    AddToLoad(1);
    own_.Send(std::move(request), [this, slot](TransferResult result) {
      AddToLoad(-1);
      End(slot, std::move(result));
    });
    return;
  }
  handed_over_.Add();
  if (lane->Add(slot, slots_[slot].uses, std::move(request))) sending_.push_back(lane);
}

SharedTransport::Lane* SharedTransport::Choose(const HttpTarget* target, size_t under_way) const {
  if (under_way <= kFew || lanes_.empty()) return nullptr;
  Lane* const lane = lanes_[absl::HashOf(target) % lanes_.size()].get();
  return lane->load() + kMargin < load_.load(std::memory_order_relaxed) ? lane : nullptr;
}

uint32_t SharedTransport::TakeSlot(const HttpTarget* target, Done done) {
  if (free_slots_.empty()) {
    free_slots_.push_back(static_cast<uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  const uint32_t slot = free_slots_.back();
  free_slots_.pop_back();
  slots_[slot].target = target;
  slots_[slot].done = std::move(done);
  return slot;
}

void SharedTransport::End(uint32_t index, TransferResult result) {
  Slot& slot = slots_[index];
  ++slot.uses;
  const auto under_way = under_way_.find(std::exchange(slot.target, nullptr));
  if (--under_way->second == 0) under_way_.erase(under_way);
  free_slots_.push_back(index);
  Done done = std::move(slot.done);
  std::move(done)(std::move(result));
}

void SharedTransport::AddToLoad(int requests) {
  load_.store(load_.load(std::memory_order_relaxed) + requests, std::memory_order_relaxed);
}

void SharedTransport::OnTurn() {
  for (Lane* const lane : sending_) lane->Submit();
  sending_.clear();
  for (Lane* const lane : returning_) lane->GiveBack();
  returning_.clear();
}

void SharedTransport::CancelAll() {
  for (Lane* const lane : sending_) lane->Clear();
  sending_.clear();
  own_.CancelAll();
  // Left are those that helpers send.
  for (uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot].target == nullptr) continue;
    TransferResult result;
    result.error = TransferError::kCancelled;
    result.message = "Postrider is shutting down";
    End(slot, std::move(result));
  }
}

}  // namespace postrider
