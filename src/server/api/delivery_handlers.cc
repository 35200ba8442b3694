#include "src/server/api/delivery_handlers.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/base/utf8.h"
#include "src/server/api/errors.h"
#include "src/server/api/hold_conversion.h"
#include "src/server/api/paging.h"
#include "src/server/api/time_conversion.h"

namespace postrider {
namespace {

v1::DeliveryState StateToProto(DeliveryState state) {
  switch (state) {
    case DeliveryState::kPending:
      return v1::DELIVERY_STATE_PENDING;
    case DeliveryState::kDelivered:
      return v1::DELIVERY_STATE_DELIVERED;
    case DeliveryState::kDead:
      return v1::DELIVERY_STATE_DEAD;
    case DeliveryState::kCancelled:
      return v1::DELIVERY_STATE_CANCELLED;
  }
  return v1::DELIVERY_STATE_UNSPECIFIED;
}

std::optional<DeliveryState> StateFromProto(v1::DeliveryState state, FieldViolations* violations) {
  switch (state) {
    case v1::DELIVERY_STATE_UNSPECIFIED:
      return std::nullopt;
    case v1::DELIVERY_STATE_PENDING:
      return DeliveryState::kPending;
    case v1::DELIVERY_STATE_DELIVERED:
      return DeliveryState::kDelivered;
    case v1::DELIVERY_STATE_DEAD:
      return DeliveryState::kDead;
    case v1::DELIVERY_STATE_CANCELLED:
      return DeliveryState::kCancelled;
    default:
      violations->Add("state", absl::StrCat(state, " is not a known state"));
      return std::nullopt;
  }
}

// `clock_set`: how far the wall clock is from the steady one, by which deliveries are due.
void FillDelivery(const Delivery& delivery, const IdCodec& ids, absl::Duration clock_set,
                  v1::Delivery* proto) {
  proto->set_delivery_id(ids.Format(delivery.id));
  proto->set_tenant(delivery.tenant);
  proto->set_webhook_name(delivery.webhook_name);
  proto->set_channel(delivery.webhook_name);
  proto->set_channel_kind(v1::CHANNEL_KIND_WEBHOOK);
  proto->set_notification_id(ids.Format(delivery.notification));
  proto->set_notification_type(delivery.notification_type);
  proto->set_state(StateToProto(delivery.state));
  proto->set_attempt_count(delivery.attempts);
  *proto->mutable_create_time() = ToProto(delivery.create_time);
  if (delivery.state == DeliveryState::kPending) {
    *proto->mutable_next_attempt_time() = ToProto(delivery.due + clock_set);
  } else {
    *proto->mutable_end_time() = ToProto(delivery.end_time);
    proto->set_end_reason(static_cast<v1::EndReason>(delivery.end_reason));
  }
  proto->set_last_http_status(delivery.last_http_status);
  proto->set_last_error(ToUtf8(delivery.last_error));
}

void FillAttempt(const Attempt& attempt, v1::Attempt* proto) {
  proto->set_number(attempt.number);
  *proto->mutable_start_time() = ToProto(attempt.start);
  *proto->mutable_latency() = ToProto(attempt.latency);
  proto->set_http_status(attempt.http_status);
  proto->set_error(ToUtf8(attempt.error));
  proto->set_response_body(ToUtf8(attempt.response_body));
}

absl::Status NoDelivery(const std::string& tenant, const std::string& id) {
  return WithReason(absl::NotFoundError(absl::StrCat("there is no delivery ", Quoted(id),
                                                     " of tenant ", Quoted(tenant))),
                    "DELIVERY_NOT_FOUND");
}

absl::StatusOr<DeliveryFilter> FilterFromProto(const v1::ListDeliveriesRequest& request,
                                               const IdCodec& ids, const std::string& tag) {
  DeliveryFilter filter;
  FieldViolations violations;
  filter.tenant = TenantOrDefault(request.tenant());
  filter.webhook_name = request.webhook_name();
  filter.state = StateFromProto(request.state(), &violations);
  if (request.has_start_time()) {
    filter.start = FromProto(request.start_time(), "start_time", &violations);
  }
  if (request.has_end_time()) {
    filter.end = FromProto(request.end_time(), "end_time", &violations);
  }
  if (!violations.empty()) return violations.ToStatus();
  if (!request.notification_id().empty()) {
    filter.notification = ids.ParseNotificationId(request.notification_id());
    if (!filter.notification.has_value()) {
      return WithReason(absl::NotFoundError(absl::StrCat("there is no notification ",
                                                         Quoted(request.notification_id()))),
                        "NOTIFICATION_NOT_FOUND");
    }
  }
  absl::StatusOr<int> limit = PageLimit(request.page_size());
  if (!limit.ok()) return limit.status();
  filter.limit = *limit;
  absl::StatusOr<std::optional<int64_t>> before = DecodeNumberToken(tag, request.page_token());
  if (!before.ok()) return before.status();
  if (before->has_value()) filter.before = DeliveryId{**before};
  return filter;
}

// Everything of the request but the paging.
std::string FilterTag(v1::ListDeliveriesRequest request) {
  request.clear_page_size();
  request.clear_page_token();
  request.set_tenant(TenantOrDefault(request.tenant()));
  return "deliveries:" + request.SerializeAsString();
}

}  // namespace

class DeliveryHandlers::Holds {
 public:
  explicit Holds(const Clock& clock) : clock_set_(clock.Now() - clock.Steady()) {
    // It was slewed, or read a moment apart.
    if (absl::AbsDuration(clock_set_) < absl::Seconds(1)) clock_set_ = absl::ZeroDuration();
  }

  // Fills `proto`, which must live until the call ends, from the row.
  void Fill(const Delivery& delivery, const IdCodec& ids, v1::Delivery* proto) {
    FillDelivery(delivery, ids, clock_set_, proto);
    if (delivery.state != DeliveryState::kPending) return;
    pending_.push_back({delivery.webhook, delivery.id, delivery.due});
    protos_.push_back(proto);
  }

  void Ask(StatusSource& status, HandlerDone done) && {
    if (pending_.empty()) return std::move(done)(absl::OkStatus());
    status.AskHolds(std::move(pending_), [protos = std::move(protos_), done = std::move(done)](
                                             StatusSource::Holds holds) mutable {
      for (size_t i = 0; i < protos.size(); ++i) {
        if (holds[i].has_value()) *protos[i]->mutable_hold() = ToProto(*holds[i]);
      }
      std::move(done)(absl::OkStatus());
    });
  }

 private:
  absl::Duration clock_set_;
  std::vector<PendingDelivery> pending_;
  std::vector<v1::Delivery*> protos_;
};

void DeliveryHandlers::ListDeliveries(const v1::ListDeliveriesRequest& request,
                                      v1::ListDeliveriesResponse* response,
                                      const CallContext& /*context*/, HandlerDone done) {
  std::string tag = FilterTag(request);
  absl::StatusOr<DeliveryFilter> filter = FilterFromProto(request, outbox_.ids(), tag);
  if (!filter.ok()) return std::move(done)(filter.status());
  outbox_.ListDeliveries(*std::move(filter), [this, response, tag = std::move(tag),
                                              done = std::move(done)](
                                                 absl::StatusOr<DeliveryPage> page) mutable {
    if (!page.ok()) return std::move(done)(page.status());
    Holds holds(clock_);
    for (const Delivery& delivery : page->rows) {
      holds.Fill(delivery, outbox_.ids(), response->add_deliveries());
    }
    if (page->next_before.has_value()) {
      response->set_next_page_token(EncodePageToken(tag, static_cast<int64_t>(*page->next_before)));
    }
    std::move(holds).Ask(status_, std::move(done));
  });
}

void DeliveryHandlers::GetDelivery(const v1::GetDeliveryRequest& request,
                                   v1::GetDeliveryResponse* response,
                                   const CallContext& /*context*/, HandlerDone done) {
  const std::string tenant = TenantOrDefault(request.tenant());
  const std::optional<DeliveryId> id = outbox_.ids().ParseDeliveryId(request.delivery_id());
  if (!id.has_value()) return std::move(done)(NoDelivery(tenant, request.delivery_id()));
  outbox_.GetDelivery(tenant, *id,
                      [this, &request, response, tenant,
                       done = std::move(done)](absl::StatusOr<DeliveryWithAttempts> found) mutable {
                        if (absl::IsNotFound(found.status())) {
                          return std::move(done)(NoDelivery(tenant, request.delivery_id()));
                        }
                        if (!found.ok()) return std::move(done)(found.status());
                        Holds holds(clock_);
                        holds.Fill(found->delivery, outbox_.ids(), response->mutable_delivery());
                        for (const Attempt& attempt : found->attempts) {
                          FillAttempt(attempt, response->add_attempts());
                        }
                        std::move(holds).Ask(status_, std::move(done));
                      });
}

void DeliveryHandlers::RetryDelivery(const v1::RetryDeliveryRequest& request,
                                     v1::RetryDeliveryResponse* response,
                                     const CallContext& /*context*/, HandlerDone done) {
  const std::string tenant = TenantOrDefault(request.tenant());
  const std::optional<DeliveryId> id = outbox_.ids().ParseDeliveryId(request.delivery_id());
  if (!id.has_value()) return std::move(done)(NoDelivery(tenant, request.delivery_id()));
  outbox_.RetryDelivery(
      tenant, *id,
      [this, &request, response, tenant,
       done = std::move(done)](absl::StatusOr<Delivery> delivery) mutable {
        if (absl::IsNotFound(delivery.status())) {
          return std::move(done)(NoDelivery(tenant, request.delivery_id()));
        }
        if (absl::IsFailedPrecondition(delivery.status())) {
          return std::move(done)(
              WithReason(absl::FailedPreconditionError(absl::StrCat(
                             "delivery ", Quoted(request.delivery_id()),
                             " cannot be retried: it was delivered, or its webhook is deleted")),
                         "NOT_RETRYABLE"));
        }
        if (!delivery.ok()) return std::move(done)(delivery.status());
        // The engine has heard of it before this is asked.
        Holds holds(clock_);
        holds.Fill(*delivery, outbox_.ids(), response->mutable_delivery());
        std::move(holds).Ask(status_, std::move(done));
      });
}

}  // namespace postrider
