#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "postrider/v1/webhook_service.pb.h"
#include "src/outbox/types.h"

namespace postrider {

// The webhook between the API and the domain.

// Checks every field but the output-only ones and `etag`, and fills in the defaults. Sensitive
// headers are marked so, whether the caller did or not. `needs_name` is false for a webhook that is
// only tested. INVALID_ARGUMENT naming each bad field below `webhook`.
absl::StatusOr<Webhook> WebhookFromProto(const v1::Webhook& proto, bool needs_name);

// Without the values of sensitive headers.
v1::Webhook WebhookToProto(const Webhook& webhook);

// Opaque to callers; differs between any two versions of any two webhooks of a data directory.
std::string EtagOf(const Webhook& webhook);

// Gives each sensitive header of `webhook` whose value is empty the value that `stored` has under
// the same name (null: nothing is stored). INVALID_ARGUMENT naming the header when there is none.
absl::Status MergeSensitiveHeaders(const Webhook* stored, Webhook* webhook);

// The test request of one went to the same place with the same headers as that of the other would.
bool SameTestRequest(const Webhook& a, const Webhook& b);

// The URLs have the same scheme, host and port.
bool SameOrigin(const std::string& url_a, const std::string& url_b);

// [A-Za-z0-9][A-Za-z0-9._:-]{0,127}
bool IsNotificationType(const std::string& type);

}  // namespace postrider
