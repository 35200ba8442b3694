#pragma once

#include <cstddef>

#include "absl/status/statusor.h"
#include "postrider/v1/notification_service.pb.h"
#include "src/outbox/outbox.h"
#include "src/server/api/call_context.h"
#include "src/server/api/handler.h"

namespace postrider {

// NotificationService (proto/postrider/v1/notification_service.proto) over an outbox. Thread-safe.
// The outbox must outlive every call.
class NotificationHandlers {
 public:
  static constexpr int kMaxBatch = 1000;
  static constexpr size_t kMaxIdempotencyKeyBytes = 255;

  // `max_notification_bytes`: of the rendered body.
  NotificationHandlers(Outbox& outbox, size_t max_notification_bytes)
      : outbox_(outbox), max_notification_bytes_(max_notification_bytes) {}

  void PublishNotification(const v1::PublishNotificationRequest& request,
                           v1::PublishNotificationResponse* response, const CallContext& context,
                           HandlerDone done);
  // A request that cannot be published has a Status in its place; the rest is published. An error
  // of the whole means that nothing was.
  void BatchPublishNotifications(const v1::BatchPublishNotificationsRequest& request,
                                 v1::BatchPublishNotificationsResponse* response,
                                 const CallContext& context, HandlerDone done);
  void GetNotification(const v1::GetNotificationRequest& request,
                       v1::GetNotificationResponse* response, const CallContext& context,
                       HandlerDone done);
  void ListNotifications(const v1::ListNotificationsRequest& request,
                         v1::ListNotificationsResponse* response, const CallContext& context,
                         HandlerDone done);

 private:
  // Checks and renders.
  absl::StatusOr<NewNotification> Prepare(const v1::PublishNotificationRequest& request) const;

  Outbox& outbox_;
  const size_t max_notification_bytes_;
};

}  // namespace postrider
