#include "src/outbox/sqlite/routing.h"

#include <algorithm>
#include <utility>

namespace postrider {

const Routing::Tenant* Routing::Find(const std::string& tenant) const {
  const auto it = tenants_.find(tenant);
  return it == tenants_.end() ? nullptr : &it->second;
}

void Routing::AddTenant(const std::string& tenant, int64_t id) {
  tenants_[tenant].id = id;
  undo_.push_back([this, tenant] { tenants_.erase(tenant); });
}

void Routing::Set(const std::string& tenant, WebhookId id, std::vector<std::string> types) {
  Remove(id);
  Enter(id, {tenant, std::move(types)});
  undo_.push_back([this, id] { Leave(id); });
}

void Routing::Remove(WebhookId id) {
  std::optional<Route> old = Leave(id);
  if (!old) return;
  undo_.push_back([this, id, route = std::move(*old)] { Enter(id, route); });
}

void Routing::Rollback() {
  while (!undo_.empty()) {
    undo_.back()();
    undo_.pop_back();
  }
}

void Routing::Enter(WebhookId id, Route route) {
  Tenant& tenant = tenants_.at(route.tenant);
  // In the order of creation, whatever was undone: a webhook's place does not depend on its
  // history.
  const auto insert = [id](std::vector<WebhookId>& ids) {
    const auto at = std::lower_bound(ids.begin(), ids.end(), id);
    if (at == ids.end() || *at != id) ids.insert(at, id);
  };
  if (route.types.empty()) insert(tenant.all_types);
  for (const std::string& type : route.types) insert(tenant.by_type[type]);
  routes_.insert_or_assign(id, std::move(route));
}

std::optional<Routing::Route> Routing::Leave(WebhookId id) {
  const auto it = routes_.find(id);
  if (it == routes_.end()) return std::nullopt;
  Route route = std::move(it->second);
  routes_.erase(it);
  Tenant& tenant = tenants_.at(route.tenant);
  if (route.types.empty()) std::erase(tenant.all_types, id);
  for (const std::string& type : route.types) {
    const auto ids = tenant.by_type.find(type);
    if (ids == tenant.by_type.end()) continue;  // named twice
    std::erase(ids->second, id);
    if (ids->second.empty()) tenant.by_type.erase(ids);
  }
  return route;
}

}  // namespace postrider
