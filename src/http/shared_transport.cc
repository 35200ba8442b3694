#include "src/http/shared_transport.h"

#include <utility>

#include "absl/hash/hash.h"

namespace postrider {
namespace {

// A target is served by one thread while it has no more than this under way.
constexpr size_t kFew = 8;
// Only a thread that waits for less than a quarter of its time is helped: one that has time sends
// sooner itself.
constexpr float kBusy = 0.75;

TransferResult Cancelled() {
  TransferResult result;
  result.error = TransferError::kCancelled;
  result.message = "Postrider is shutting down";
  return result;
}

}  // namespace

// The way to a helper, and back. Add, Clear and Submit belong to the owner's thread, GiveBack, Send
// and Return to the helper's.
class SharedTransport::Lane {
 public:
  Lane(SharedTransport& owner, SharedTransport& helper) : owner_(owner), helper_(helper) {}

  float busy() const { return helper_.busy_(); }

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
        owner.End(handed.slot, handed.use, std::move(handed.what));
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
    if (helper_.stopped_) {
      Return(handed.slot, handed.use, Cancelled());
      return;
    }
    helper_.own_.Send(std::move(handed.what),
                      [this, slot = handed.slot, use = handed.use](TransferResult result) {
                        Return(slot, use, std::move(result));
                      });
  }

  void Return(uint32_t slot, uint32_t use, TransferResult result) {
    if (results_.empty()) helper_.returning_.push_back(this);
    results_.push_back({slot, use, std::move(result)});
  }

  SharedTransport& owner_;
  SharedTransport& helper_;
  std::vector<Handed<TransferRequest>> requests_;
  std::vector<Handed<TransferResult>> results_;
};

SharedTransport::SharedTransport(Executor& home, std::function<float()> busy, Transport& own,
                                 Counter& handed_over)
    : home_(home), busy_(std::move(busy)), own_(own), handed_over_(handed_over) {}
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
  Flow& flow = flows_[target];
  ++flow.all;
  const bool hand_over = ShallHandOver(*target, flow);
  const uint32_t slot = TakeSlot(target, hand_over, std::move(done));
  const uint32_t use = slots_[slot].uses;
  if (!hand_over) {
    own_.Send(std::move(request),
              [this, slot, use](TransferResult result) { End(slot, use, std::move(result)); });
    return;
  }
  ++flow.handed_over;
  handed_over_.Add();
  if (flow.lane->Add(slot, use, std::move(request))) sending_.push_back(flow.lane);
}

bool SharedTransport::ShallHandOver(const HttpTarget& target, Flow& flow) const {
  if (flow.all <= kFew || 2 * flow.handed_over >= flow.all || lanes_.empty()) return false;
  const float busy = busy_();
  if (busy < kBusy) return false;
  if (flow.lane == nullptr) flow.lane = lanes_[absl::HashOf(target.url) % lanes_.size()].get();
  return flow.lane->busy() < busy;
}

uint32_t SharedTransport::TakeSlot(const HttpTarget* target, bool handed_over, Done done) {
  if (free_slots_.empty()) {
    free_slots_.push_back(static_cast<uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  const uint32_t index = free_slots_.back();
  free_slots_.pop_back();
  Slot& slot = slots_[index];
  slot.target = target;
  slot.handed_over = handed_over;
  slot.done = std::move(done);
  return index;
}

void SharedTransport::End(uint32_t index, uint32_t use, TransferResult result) {
  Slot& slot = slots_[index];
  if (slot.uses != use) return;
  ++slot.uses;
  const auto flow = flows_.find(std::exchange(slot.target, nullptr));
  if (slot.handed_over) --flow->second.handed_over;
  if (--flow->second.all == 0) flows_.erase(flow);
  free_slots_.push_back(index);
  Done done = std::move(slot.done);
  std::move(done)(std::move(result));
}

void SharedTransport::OnTurn() {
  for (Lane* const lane : sending_) lane->Submit();
  sending_.clear();
  for (Lane* const lane : returning_) lane->GiveBack();
  returning_.clear();
}

void SharedTransport::Cancel(const HttpTarget& target) {
  own_.Cancel(target);
  for (uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot].target != &target || !slots_[slot].handed_over) continue;
    End(slot, slots_[slot].uses, Cancelled());
  }
}

void SharedTransport::CancelAll() {
  for (Lane* const lane : sending_) lane->Clear();
  sending_.clear();
  own_.CancelAll();
  // Left are those that helpers send.
  for (uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot].target != nullptr) End(slot, slots_[slot].uses, Cancelled());
  }
}

void SharedTransport::Stop() {
  stopped_ = true;
  CancelAll();
}

}  // namespace postrider
