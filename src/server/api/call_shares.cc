#include "src/server/api/call_shares.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "src/server/api/errors.h"

namespace postrider {
namespace {

constexpr size_t kMaxIdle = 1024;
// Names of tenants are shorter; what is longer is refused later on.
constexpr size_t kMaxNameBytes = 200;

constexpr const char* kOfTenant = " of this tenant's";
constexpr const char* kOfPeer = " of this caller's";

CallShares::Amount Sum(const CallShares::Amount& a, const CallShares::Amount& b) {
  return {a.calls + b.calls, a.request_bytes + b.request_bytes, a.answer_bytes + b.answer_bytes};
}

CallShares::Amount Negative(const CallShares::Amount& a) {
  return {-a.calls, -a.request_bytes, -a.answer_bytes};
}

absl::Status TooMuch(const char* what, const char* whose) {
  return WithReason(
      absl::ResourceExhaustedError(absl::StrCat("the server holds as many ", what, whose,
                                                " as it may: try again in a moment")),
      "TOO_MANY_REQUESTS");
}

}  // namespace

CallShares::Share& CallShares::Share::operator=(Share&& other) noexcept {
  std::swap(shares_, other.shares_);
  std::swap(tenant_, other.tenant_);
  std::swap(peer_, other.peer_);
  std::swap(amount_, other.amount_);
  std::swap(excess_, other.excess_);
  return *this;
}

CallShares::Share::~Share() {
  if (shares_ == nullptr) return;
  MutexLock lock(&shares_->mutex_);
  shares_->Change(this, Negative(amount_));
  Drop(tenant_, &shares_->tenants_);
  Drop(peer_, &shares_->peers_);
}

absl::Status CallShares::Share::Answered(int64_t answer_bytes) {
  if (shares_ == nullptr) return absl::OkStatus();
  const int64_t more = answer_bytes - amount_.answer_bytes;
  MutexLock lock(&shares_->mutex_);
  absl::Status status;
  if (excess_ == Excess::kRefused && more > 0) status = shares_->Fit(*this, {0, 0, more});
  shares_->Change(this, {0, -amount_.request_bytes, status.ok() ? more : -amount_.answer_bytes});
  return status;
}

absl::StatusOr<CallShares::Share> CallShares::Take(std::string_view tenant, std::string_view peer,
                                                   int64_t request_bytes, int64_t answer_bytes,
                                                   Excess excess) {
  const Amount wanted{1, request_bytes, answer_bytes};
  MutexLock lock(&mutex_);
  Share share;
  share.tenant_ = HolderOf(tenant, &tenants_);
  share.peer_ = HolderOf(peer, &peers_);
  share.excess_ = excess;
  if (absl::Status status = Fit(share, wanted); !status.ok()) {
    Drop(share.tenant_, &tenants_);
    Drop(share.peer_, &peers_);
    return status;
  }
  share.shares_ = this;
  Change(&share, wanted);
  return share;
}

CallShares::Holder* CallShares::HolderOf(std::string_view name, Holders* holders) {
  const absl::string_view key(name.data(), std::min(name.size(), kMaxNameBytes));
  return &*holders->try_emplace(key).first;
}

void CallShares::Drop(Holder* holder, Holders* holders) {
  if (holder->second.calls == 0 && holders->size() > kMaxIdle) {
    holders->erase(holders->find(holder->first));
  }
}

absl::Status CallShares::Fit(const Share& share, const Amount& wanted) const {
  if (const char* why = WhyNot(share.tenant_->second, wanted, kTenantGreed)) {
    return TooMuch(why, kOfTenant);
  }
  if (const char* why = WhyNot(share.peer_->second, wanted, kPeerGreed)) {
    return TooMuch(why, kOfPeer);
  }
  return absl::OkStatus();
}

const char* CallShares::WhyNot(const Amount& held, const Amount& wanted, int64_t greed) const {
  const auto fits = [&](int64_t Amount::*of) {
    const int64_t left = limits_.*of - total_.*of - wanted.*of;
    return wanted.*of == 0 || (left >= 0 && held.*of <= greed * left);
  };
  if (!fits(&Amount::calls)) return "calls";
  if (!fits(&Amount::request_bytes)) return "requests";
  if (!fits(&Amount::answer_bytes)) return "answers";
  return nullptr;
}

void CallShares::Change(Share* share, const Amount& by) {
  for (Amount* amount :
       {&share->amount_, &share->tenant_->second, &share->peer_->second, &total_}) {
    *amount = Sum(*amount, by);
  }
  metrics_.calls.Set(total_.calls);
  metrics_.request_bytes.Set(total_.request_bytes);
  metrics_.answer_bytes.Set(total_.answer_bytes);
}

}  // namespace postrider
