#include "src/server/api/hold_conversion.h"

#include "src/base/utf8.h"
#include "src/server/api/time_conversion.h"

namespace postrider {

v1::Hold ToProto(const Hold& hold) {
  v1::Hold proto;
  proto.set_reason(static_cast<v1::HoldReason>(hold.reason));
  if (hold.start != absl::InfinitePast()) *proto.mutable_start_time() = ToProto(hold.start);
  if (hold.until != absl::InfiniteFuture()) *proto.mutable_until_time() = ToProto(hold.until);
  proto.set_detail(ToUtf8(hold.detail));
  return proto;
}

v1::Health ToProto(const Health& health) {
  v1::Health proto;
  proto.set_state(static_cast<v1::HealthState>(health.state));
  if (health.start != absl::InfinitePast()) *proto.mutable_start_time() = ToProto(health.start);
  if (health.next_attempt != absl::InfiniteFuture()) {
    *proto.mutable_next_attempt_time() = ToProto(health.next_attempt);
  }
  proto.set_last_error(ToUtf8(health.last_error));
  return proto;
}

}  // namespace postrider
