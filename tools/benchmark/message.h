#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "postrider/v1/notification_service.pb.h"

// The one message that everything in the bench sends: a notification that is rendered into a body
// of exactly 600 bytes, and the webhook's five additional headers.

namespace postrider::bench {

inline constexpr size_t kBodyBytes = 600;

// Types have all the same length, and so have the bodies. REQUIRES: 0 <= number < 10,000.
std::string NotificationType(int number);

v1::PublishNotificationRequest PublishRequest(const std::string& tenant, int type);

// Writes the time into the payload, where it has room for it.
void Stamp(int64_t time_ns, v1::PublishNotificationRequest* request);
// The time that a body was stamped with; 0 when it was not. REQUIRES: kBodyBytes bytes.
int64_t ReadStamp(std::string_view body);

// The body that the request above is rendered into.
std::string RenderedBody(int type);

using HeaderPair = std::pair<std::string, std::string>;
const std::vector<HeaderPair>& AdditionalHeaders();

// All headers of a delivery as Postrider sends them, but Host and Content-Length: the values have
// the lengths that real ids, times and signatures have.
std::vector<HeaderPair> DeliveryHeaders();

}  // namespace postrider::bench
