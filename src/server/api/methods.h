#pragma once

#include <cstddef>
#include <tuple>

#include "src/server/api/call_context.h"
#include "src/server/api/call_shares.h"
#include "src/server/api/delivery_handlers.h"
#include "src/server/api/handler.h"
#include "src/server/api/notification_handlers.h"
#include "src/server/api/webhook_handlers.h"

namespace postrider {

// The methods of the API, once each: what every door serves (rpc/ today). A new one has a line
// here, its protos, and its handler; no door is changed.

// The handlers that answer. All must outlive every call.
struct ApiHandlers {
  WebhookHandlers* webhooks = nullptr;
  NotificationHandlers* notifications = nullptr;
  DeliveryHandlers* deliveries = nullptr;
};

enum class Access {
  // It neither writes nor sends, so it may be called while the server drains.
  kReads,
  kWrites,
};

// Whether its calls tell when nobody waits for them any more (CallContext::cancellation), which
// costs a door something for each: for those that send a test request or tell a secret.
enum class Watched { kNo, kYes };

template <typename HandlersT, typename RequestT, typename ResponseT>
struct Method {
  using Handlers = HandlersT;
  using Request = RequestT;
  using Response = ResponseT;

  // As in its service's proto.
  const char* name;
  Access access;
  Watched watched;
  // Whether its caller can ask again for an answer that he did not get.
  CallShares::Excess excess;
  Handlers* ApiHandlers::*handlers;
  void (Handlers::*handle)(const Request&, Response*, const CallContext&, HandlerDone);
};

template <typename Handlers, typename Request, typename Response>
Method(const char*, Access, Watched, CallShares::Excess, Handlers* ApiHandlers::*,
       void (Handlers::*)(const Request&, Response*, const CallContext&, HandlerDone))
    -> Method<Handlers, Request, Response>;

inline constexpr auto kMethods = std::make_tuple(
    Method{"ConfigureWebhook", Access::kWrites, Watched::kYes, CallShares::Excess::kCounted,
           &ApiHandlers::webhooks, &WebhookHandlers::ConfigureWebhook},
    Method{"ValidateWebhook", Access::kWrites, Watched::kYes, CallShares::Excess::kRefused,
           &ApiHandlers::webhooks, &WebhookHandlers::ValidateWebhook},
    Method{"GetWebhook", Access::kReads, Watched::kNo, CallShares::Excess::kRefused,
           &ApiHandlers::webhooks, &WebhookHandlers::GetWebhook},
    Method{"ListWebhooks", Access::kReads, Watched::kNo, CallShares::Excess::kRefused,
           &ApiHandlers::webhooks, &WebhookHandlers::ListWebhooks},
    Method{"DeleteWebhook", Access::kWrites, Watched::kNo, CallShares::Excess::kCounted,
           &ApiHandlers::webhooks, &WebhookHandlers::DeleteWebhook},
    Method{"RotateSigningSecret", Access::kWrites, Watched::kYes, CallShares::Excess::kCounted,
           &ApiHandlers::webhooks, &WebhookHandlers::RotateSigningSecret},
    Method{"PublishNotification", Access::kWrites, Watched::kNo, CallShares::Excess::kCounted,
           &ApiHandlers::notifications, &NotificationHandlers::PublishNotification},
    Method{"BatchPublishNotifications", Access::kWrites, Watched::kNo,
           CallShares::Excess::kCounted, &ApiHandlers::notifications,
           &NotificationHandlers::BatchPublishNotifications},
    Method{"GetNotification", Access::kReads, Watched::kNo, CallShares::Excess::kRefused,
           &ApiHandlers::notifications, &NotificationHandlers::GetNotification},
    Method{"ListNotifications", Access::kReads, Watched::kNo, CallShares::Excess::kRefused,
           &ApiHandlers::notifications, &NotificationHandlers::ListNotifications},
    Method{"ListDeliveries", Access::kReads, Watched::kNo, CallShares::Excess::kRefused,
           &ApiHandlers::deliveries, &DeliveryHandlers::ListDeliveries},
    Method{"GetDelivery", Access::kReads, Watched::kNo, CallShares::Excess::kRefused,
           &ApiHandlers::deliveries, &DeliveryHandlers::GetDelivery},
    Method{"RetryDelivery", Access::kWrites, Watched::kNo, CallShares::Excess::kCounted,
           &ApiHandlers::deliveries, &DeliveryHandlers::RetryDelivery});

inline constexpr size_t kMethodCount = std::tuple_size_v<decltype(kMethods)>;

// Calls `visit(method, number)` for each, with its place in the table.
template <typename Visit>
constexpr void ForEachMethod(Visit&& visit) {
  std::apply(
      [&](const auto&... method) {
        size_t number = 0;
        (visit(method, number++), ...);
      },
      kMethods);
}

}  // namespace postrider
