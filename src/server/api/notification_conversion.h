#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "postrider/v1/notification_service.pb.h"

namespace postrider {

struct RenderedNotification {
  std::string type;
  // The JSON that every webhook gets.
  std::string body;
};

// Checks the notification and renders its body. INVALID_ARGUMENT naming each bad field below
// `notification`.
absl::StatusOr<RenderedNotification> RenderNotification(const v1::Notification& proto);

}  // namespace postrider
