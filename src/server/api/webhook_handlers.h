#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "postrider/v1/webhook_service.pb.h"
#include "src/base/clock.h"
#include "src/base/random.h"
#include "src/delivery/hold.h"
#include "src/outbox/outbox.h"
#include "src/server/api/call_context.h"
#include "src/server/api/handler.h"
#include "src/server/api/webhook_tester.h"

namespace postrider {

// WebhookService (proto/postrider/v1/webhook_service.proto) over an outbox, a tester, and who knows
// how receivers do.
// Thread-safe; what it is given must outlive every call, and `random` must be thread-safe and fit
// for secrets.
//
// ConfigureWebhook reads the stored webhook, perhaps sends the test request, and then stores in one
// transaction. Between reading and storing others may change the webhook: the transaction applies
// the request to what is stored by then, and answers ABORTED when that would need another test.
// What would tell a secret to a caller who waits no more is not stored.
class WebhookHandlers {
 public:
  WebhookHandlers(Outbox& outbox, WebhookTester& tester, StatusSource& status, const Clock& clock,
                  Random& random)
      : outbox_(outbox), tester_(tester), status_(status), clock_(clock), random_(random) {}

  // Called with a stored webhook, and its version, whose test request was answered by 200. Set
  // before the first call.
  using OnValid = std::function<void(WebhookId id, int64_t version)>;
  void SetOnValid(OnValid on_valid) { on_valid_ = std::move(on_valid); }

  void ConfigureWebhook(const v1::ConfigureWebhookRequest& request,
                        v1::ConfigureWebhookResponse* response, const CallContext& context,
                        HandlerDone done);
  void ValidateWebhook(const v1::ValidateWebhookRequest& request,
                       v1::ValidateWebhookResponse* response, const CallContext& context,
                       HandlerDone done);
  void GetWebhook(const v1::GetWebhookRequest& request, v1::GetWebhookResponse* response,
                  const CallContext& context, HandlerDone done);
  void ListWebhooks(const v1::ListWebhooksRequest& request, v1::ListWebhooksResponse* response,
                    const CallContext& context, HandlerDone done);
  void DeleteWebhook(const v1::DeleteWebhookRequest& request, v1::DeleteWebhookResponse* response,
                     const CallContext& context, HandlerDone done);
  void RotateSigningSecret(const v1::RotateSigningSecretRequest& request,
                           v1::RotateSigningSecretResponse* response,
                           const CallContext& context, HandlerDone done);

 private:
  // One ConfigureWebhook call, passed from step to step.
  struct Configure;

  void GateThenStore(std::shared_ptr<Configure> call, std::optional<Webhook> stored);
  void Store(std::shared_ptr<Configure> call);
  void ValidateStored(const v1::WebhookRef& ref, v1::ValidateWebhookResponse* response,
                      const CallContext& context, HandlerDone done);
  void ValidateUnstored(const v1::Webhook& proto, v1::ValidateWebhookResponse* response,
                        const CallContext& context, HandlerDone done);
  // Keeps the result on the webhook, if it is still the one that was tested.
  void KeepState(Webhook tested, bool valid, HandlerDone done);

  // Fills in how the receivers do, and ends the call.
  void TellHealth(std::vector<WebhookId> ids, std::vector<v1::Webhook*> protos, HandlerDone done);

  Outbox& outbox_;
  WebhookTester& tester_;
  StatusSource& status_;
  const Clock& clock_;
  Random& random_;
  OnValid on_valid_;
};

}  // namespace postrider
