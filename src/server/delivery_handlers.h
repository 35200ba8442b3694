#pragma once

#include "postrider/v1/delivery_service.pb.h"
#include "src/outbox/outbox.h"
#include "src/server/handler.h"

namespace postrider {

// DeliveryService (proto/postrider/v1/delivery_service.proto) over an outbox. Thread-safe. The
// outbox must outlive every call.
class DeliveryHandlers {
 public:
  explicit DeliveryHandlers(Outbox& outbox) : outbox_(outbox) {}

  void ListDeliveries(const v1::ListDeliveriesRequest& request,
                      v1::ListDeliveriesResponse* response, HandlerDone done);
  void GetDelivery(const v1::GetDeliveryRequest& request, v1::GetDeliveryResponse* response,
                   HandlerDone done);
  void RetryDelivery(const v1::RetryDeliveryRequest& request, v1::RetryDeliveryResponse* response,
                     HandlerDone done);

 private:
  Outbox& outbox_;
};

}  // namespace postrider
