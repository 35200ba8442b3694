#pragma once

#include "postrider/v1/delivery_service.pb.h"
#include "src/base/clock.h"
#include "src/delivery/hold.h"
#include "src/outbox/outbox.h"
#include "src/server/api/call_context.h"
#include "src/server/api/handler.h"

namespace postrider {

// DeliveryService (proto/postrider/v1/delivery_service.proto) over an outbox, and over who knows
// what holds back what is pending. Thread-safe. All must outlive every call.
class DeliveryHandlers {
 public:
  DeliveryHandlers(Outbox& outbox, StatusSource& status, const Clock& clock)
      : outbox_(outbox), status_(status), clock_(clock) {}

  void ListDeliveries(const v1::ListDeliveriesRequest& request,
                      v1::ListDeliveriesResponse* response, const CallContext& context,
                      HandlerDone done);
  void GetDelivery(const v1::GetDeliveryRequest& request, v1::GetDeliveryResponse* response,
                   const CallContext& context, HandlerDone done);
  void RetryDelivery(const v1::RetryDeliveryRequest& request, v1::RetryDeliveryResponse* response,
                     const CallContext& context, HandlerDone done);

 private:
  // Fills in what holds back those that are pending, of one answer, and ends the call.
  class Holds;

  Outbox& outbox_;
  StatusSource& status_;
  const Clock& clock_;
};

}  // namespace postrider
