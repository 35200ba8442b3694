#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "src/base/ids.h"

namespace postrider {

// Which enabled webhooks want a notification: the writer's picture of the tenant and webhook
// tables, so that a publish reads nothing. Changed inside a transaction, and taken back with it.
//
// Not thread-safe: it belongs to the writer thread.
class Routing {
 public:
  struct Tenant {
    int64_t id = 0;
    // The enabled webhooks that want every type, and those that want certain ones.
    std::vector<WebhookId> all_types;
    std::unordered_map<std::string, std::vector<WebhookId>> by_type;
  };

  // Null when the tenant is unknown. Good until the next change.
  const Tenant* Find(const std::string& tenant) const;

  bool IsEnabled(WebhookId webhook) const { return routes_.count(webhook) > 0; }
  // The enabled webhooks, of all tenants.
  size_t webhooks() const { return routes_.size(); }

  // REQUIRES: the tenant is not known.
  void AddTenant(const std::string& tenant, int64_t id);
  // From now on the webhook, which is enabled, gets these types; all when there are none.
  // REQUIRES: the tenant is known.
  void Set(const std::string& tenant, WebhookId id, std::vector<std::string> types);
  // The webhook is disabled or deleted; it may be unknown.
  void Remove(WebhookId id);

  // Makes the changes since the last call of either lasting, or takes them back.
  void Commit() { undo_.clear(); }
  void Rollback();

 private:
  struct Route {
    std::string tenant;
    std::vector<std::string> types;
  };

  void Enter(WebhookId id, Route route);
  std::optional<Route> Leave(WebhookId id);

  std::unordered_map<std::string, Tenant> tenants_;
  std::unordered_map<WebhookId, Route> routes_;
  std::vector<std::function<void()>> undo_;
};

}  // namespace postrider
