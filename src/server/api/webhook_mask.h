#pragma once

#include "absl/status/status.h"
#include "google/protobuf/field_mask.pb.h"
#include "postrider/v1/webhook_service.pb.h"

namespace postrider {

// What ConfigureWebhookRequest.update_mask may name, and what it does. Pure functions.

// INVALID_ARGUMENT naming each path that is no field of a webhook that its owner can change: those
// of Webhook but its names, etag and what is output only; of retry_policy and rate_limit also one
// field alone, as in `rate_limit.burst`; and `headers.NAME` for the headers of one name. A mask
// that names nothing is refused, too, and so is more than a webhook can have, in the mask or in
// `from`: each path costs a walk over the headers, on the thread that all writes wait for.
absl::Status CheckMask(const google::protobuf::FieldMask& mask, const v1::Webhook& from);

// Gives `to` what `from` has in the fields that the mask names. Headers of one name take the place
// of those that `to` has of that name, in any case; where `from` has none, they go.
// REQUIRES: CheckMask says OK.
void ApplyMask(const google::protobuf::FieldMask& mask, const v1::Webhook& from, v1::Webhook* to);

}  // namespace postrider
