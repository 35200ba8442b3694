#include <algorithm>
#include <cstddef>

#include "src/delivery/engine_impl.h"

// Who may have how many attempts under way: the slots are shared by tenant, then by webhook.

namespace postrider {
namespace {

// This part of the slots is for tenants that have less than their share of them, and this part of a
// tenant's for its webhooks that have none: so there are some for the next one, however many black
// holes there are.
constexpr size_t kNewcomerShare = 16;
constexpr size_t kFirstShare = 32;

}  // namespace

size_t Engine::Impl::ShareOfTenant() const {
  const size_t all = options_.max_unrecorded;
  return std::max<size_t>((all - all / kNewcomerShare) / std::max<size_t>(active_tenants_, 1), 1);
}

size_t Engine::Impl::RoomOf(const TenantState& tenant) const {
  const size_t kept = options_.max_unrecorded / kNewcomerShare;
  const size_t share = ShareOfTenant();
  return std::max(share > tenant.used ? share - tenant.used : 0,
                  FreeSlots() > kept ? FreeSlots() - kept : 0);
}

int Engine::Impl::SlotsFor(const WebhookState& webhook) const {
  const size_t room = RoomOf(*webhook.tenant);
  if (room == 0) return 0;
  // A second one only while some are left for those of the tenant that have none; and not so many
  // that the others can have none.
  const size_t kept = std::max<size_t>(ShareOfTenant() / kFirstShare, 1);
  return room > kept ? static_cast<int>(std::min<size_t>(2 * (room - kept), 1 << 20)) : 1;
}

void Engine::Impl::TakeSlotOf(const Item& item) {
  ++unrecorded_;
  if (++item.webhook->tenant->used == 1) ++active_tenants_;
  if (item.probe) ++probes_;
}

void Engine::Impl::FreeSlotOf(const Item& item) {
  --unrecorded_;
  if (--item.webhook->tenant->used == 0) --active_tenants_;
  if (item.probe) --probes_;
}

}  // namespace postrider
