#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "src/http/transport.h"
#include "src/message/signing.h"
#include "src/outbox/types.h"

namespace postrider {

// Builds the requests to one webhook. What they have in common is made once, so a request costs its
// signature and a few copies. Made anew when the webhook changes.
//
// The headers, in the order in which they go over the wire: Content-Type, User-Agent, webhook-id,
// webhook-timestamp, webhook-signature, then the webhook's own. A webhook that configures its own
// Content-Type or User-Agent replaces Postrider's.
//
// Owned by one thread.
class RequestBuilder {
 public:
  // `version`: what stands behind `postrider/` in User-Agent.
  RequestBuilder(const Webhook& webhook, const std::string& version);

  const std::shared_ptr<const HttpTarget>& target() const { return target_; }

  // `id`: the notification's public id, the same in every attempt. `now`: when the request is sent.
  TransferRequest Build(std::string_view id, absl::Time now,
                        std::shared_ptr<const std::string> body);

 private:
  std::shared_ptr<const HttpTarget> target_;
  // Content-Type and User-Agent, as far as they are Postrider's.
  std::vector<HttpHeader> common_;
  // The tenant's.
  uint64_t share_;
  Signer signer_;
};

// The request that tests a webhook, signed with its secrets; what went over the wire is captured.
TransferRequest BuildTestRequest(const Webhook& webhook, const std::string& version,
                                 absl::Time now);

}  // namespace postrider
