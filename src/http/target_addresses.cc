#include "src/http/target_addresses.h"

#include "absl/strings/str_cat.h"

namespace postrider {
namespace {

std::string ConnectTo(const IpAddress& address, const std::string& host) {
  const std::string text = address.ToString();
  if (text == host) return "";
  // For any host and port, and to the URL's port.
  return address.is_v6 ? absl::StrCat("::[", text, "]:") : absl::StrCat("::", text, ":");
}

}  // namespace

absl::StatusOr<AddressList> PassedAddresses(const AddressPolicy& policy,
                                            const std::vector<IpAddress>& addresses,
                                            const std::string& host) {
  AddressList passed;
  absl::Status refusal;
  for (const IpAddress& address : addresses) {
    const absl::Status status = policy.Judge(address);
    if (status.ok()) {
      passed.push_back({address, ConnectTo(address, host)});
      if (passed.size() == kMaxTargetAddresses) break;
    } else if (refusal.ok()) {
      refusal = status;
    }
  }
  if (passed.empty()) return refusal;
  return passed;
}

void DeadAddresses::Add(const IpAddress& ip, uint16_t port, absl::Duration now) {
  Remove(ip, port);
  failed_.push_back({{ip, port}, now});
  by_key_.emplace(Key(ip, port), std::prev(failed_.end()));
  if (failed_.size() <= kMax) return;
  by_key_.erase(failed_.front().first);
  failed_.pop_front();
}

void DeadAddresses::Remove(const IpAddress& ip, uint16_t port) {
  const auto it = by_key_.find(Key(ip, port));
  if (it == by_key_.end()) return;
  failed_.erase(it->second);
  by_key_.erase(it);
}

bool DeadAddresses::Contains(const IpAddress& ip, uint16_t port, absl::Duration now) const {
  const auto it = by_key_.find(Key(ip, port));
  return it != by_key_.end() && now < it->second->second + kKept;
}

}  // namespace postrider
