#include "src/server/api/notification_handlers.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "src/server/api/errors.h"
#include "src/server/api/notification_conversion.h"
#include "src/server/api/paging.h"
#include "src/server/api/status_mapping.h"
#include "src/server/api/time_conversion.h"

namespace postrider {
namespace {

absl::Status NoNotification(const std::string& tenant, const std::string& id) {
  return WithReason(absl::NotFoundError(absl::StrCat("there is no notification ", Quoted(id),
                                                     " of tenant ", Quoted(tenant))),
                    "NOTIFICATION_NOT_FOUND");
}

// What the outbox says of a whole call.
absl::Status CallError(const absl::Status& status) {
  if (absl::IsFailedPrecondition(status)) return WithReason(status, "TOO_MANY_DELIVERIES");
  return status;
}

// What the outbox says of one notification, in words for its publisher.
absl::Status PublishError(const absl::Status& status, const std::string& tenant,
                          const std::string& key) {
  if (absl::IsNotFound(status)) {
    return WithReason(absl::NotFoundError(absl::StrCat("tenant ", Quoted(tenant),
                                                       " is unknown: configure a webhook for it "
                                                       "first")),
                      "TENANT_NOT_FOUND");
  }
  if (absl::IsAlreadyExists(status)) {
    return WithReason(
        absl::AlreadyExistsError(absl::StrCat("idempotency key ", Quoted(key),
                                              " was used for another notification: use a key once "
                                              "for one notification")),
        "IDEMPOTENCY_KEY_REUSED");
  }
  return CallError(status);
}

void FillResponse(const Published& published, const IdCodec& ids,
                  v1::PublishNotificationResponse* response) {
  response->set_notification_id(ids.Format(published.id));
  response->set_duplicate(published.duplicate);
  response->set_delivery_count(published.delivery_count);
}

void FillRecord(const Notification& notification, const IdCodec& ids,
                v1::NotificationRecord* record) {
  record->set_notification_id(ids.Format(notification.id));
  record->set_tenant(notification.tenant);
  record->set_notification_type(notification.type);
  record->set_json_body(notification.body);
  *record->mutable_create_time() = ToProto(notification.create_time);
  record->set_delivery_count(notification.delivery_count);
  record->set_idempotency_key(notification.idempotency_key);
}

// The outbox promises as many results as it was given notifications.
absl::Status WrongCount() { return absl::InternalError("the outbox gave too few results"); }

absl::StatusOr<NotificationFilter> FilterFromProto(const v1::ListNotificationsRequest& request,
                                                   const std::string& tag) {
  NotificationFilter filter;
  FieldViolations violations;
  filter.tenant = TenantOrDefault(request.tenant());
  filter.type = request.notification_type();
  if (request.has_start_time()) {
    filter.start = FromProto(request.start_time(), "start_time", &violations);
  }
  if (request.has_end_time()) {
    filter.end = FromProto(request.end_time(), "end_time", &violations);
  }
  if (!violations.empty()) return violations.ToStatus();
  absl::StatusOr<int> limit = PageLimit(request.page_size());
  if (!limit.ok()) return limit.status();
  filter.limit = *limit;
  absl::StatusOr<std::optional<int64_t>> before = DecodeNumberToken(tag, request.page_token());
  if (!before.ok()) return before.status();
  if (before->has_value()) filter.before = NotificationId{**before};
  return filter;
}

std::string FilterTag(v1::ListNotificationsRequest request) {
  request.clear_page_size();
  request.clear_page_token();
  request.set_tenant(TenantOrDefault(request.tenant()));
  return "notifications:" + request.SerializeAsString();
}

}  // namespace

absl::StatusOr<NewNotification> NotificationHandlers::Prepare(
    const v1::PublishNotificationRequest& request) const {
  if (!request.has_notification()) return InvalidField("notification", "is missing");
  if (request.idempotency_key().size() > kMaxIdempotencyKeyBytes) {
    return InvalidField("idempotency_key",
                        absl::StrCat("has ", request.idempotency_key().size(), " bytes, at most ",
                                     kMaxIdempotencyKeyBytes, " are allowed"));
  }
  absl::StatusOr<RenderedNotification> rendered = RenderNotification(request.notification());
  if (!rendered.ok()) return rendered.status();
  if (rendered->body.size() > max_notification_bytes_) {
    return InvalidField(
        "notification",
        absl::StrCat("is ", rendered->body.size(), " bytes of JSON, at most ",
                     max_notification_bytes_, " are allowed (--max-notification-bytes)"));
  }
  NewNotification notification;
  notification.tenant = TenantOrDefault(request.tenant());
  notification.type = std::move(rendered->type);
  notification.body = std::make_shared<const std::string>(std::move(rendered->body));
  notification.idempotency_key = request.idempotency_key();
  return notification;
}

void NotificationHandlers::PublishNotification(const v1::PublishNotificationRequest& request,
                                               v1::PublishNotificationResponse* response,
                                               const CallContext& /*context*/, HandlerDone done) {
  absl::StatusOr<NewNotification> notification = Prepare(request);
  if (!notification.ok()) return std::move(done)(notification.status());
  std::vector<NewNotification> one;
  one.push_back(*std::move(notification));
  outbox_.Publish(
      std::move(one), [this, &request, response, done = std::move(done)](
                          absl::StatusOr<std::vector<absl::StatusOr<Published>>> results) mutable {
        if (!results.ok()) return std::move(done)(CallError(results.status()));
        if (results->size() != 1) return std::move(done)(WrongCount());
        const absl::StatusOr<Published>& result = results->front();
        if (!result.ok()) {
          return std::move(done)(PublishError(result.status(), TenantOrDefault(request.tenant()),
                                              request.idempotency_key()));
        }
        FillResponse(*result, outbox_.ids(), response);
        std::move(done)(absl::OkStatus());
      });
}

void NotificationHandlers::BatchPublishNotifications(
    const v1::BatchPublishNotificationsRequest& request,
    v1::BatchPublishNotificationsResponse* response, const CallContext& /*context*/,
    HandlerDone done) {
  if (request.requests_size() > kMaxBatch) {
    return std::move(done)(InvalidField(
        "requests", absl::StrCat("has ", request.requests_size(), " notifications, at most ",
                                 kMaxBatch, " are allowed in one batch")));
  }
  std::vector<NewNotification> notifications;
  // Whose place in the batch the notifications have.
  std::vector<int> places;
  for (int i = 0; i < request.requests_size(); ++i) {
    absl::StatusOr<NewNotification> notification = Prepare(request.requests(i));
    v1::BatchPublishNotificationsResult* result = response->add_results();
    if (notification.ok()) {
      notifications.push_back(*std::move(notification));
      places.push_back(i);
    } else {
      *result->mutable_status() = ToRpcStatus(notification.status());
    }
  }
  if (notifications.empty()) return std::move(done)(absl::OkStatus());

  outbox_.Publish(
      std::move(notifications),
      [this, &request, response, places = std::move(places), done = std::move(done)](
          absl::StatusOr<std::vector<absl::StatusOr<Published>>> results) mutable {
        if (results.ok() && results->size() != places.size()) results = WrongCount();
        if (!results.ok()) {
          response->Clear();
          return std::move(done)(CallError(results.status()));
        }
        for (size_t i = 0; i < places.size(); ++i) {
          const absl::StatusOr<Published>& published = (*results)[i];
          v1::BatchPublishNotificationsResult* result = response->mutable_results(places[i]);
          if (published.ok()) {
            FillResponse(*published, outbox_.ids(), result->mutable_response());
          } else {
            const v1::PublishNotificationRequest& of = request.requests(places[i]);
            *result->mutable_status() = ToRpcStatus(PublishError(
                published.status(), TenantOrDefault(of.tenant()), of.idempotency_key()));
          }
        }
        std::move(done)(absl::OkStatus());
      });
}

void NotificationHandlers::GetNotification(const v1::GetNotificationRequest& request,
                                           v1::GetNotificationResponse* response,
                                           const CallContext& /*context*/, HandlerDone done) {
  const std::string tenant = TenantOrDefault(request.tenant());
  const std::optional<NotificationId> id =
      outbox_.ids().ParseNotificationId(request.notification_id());
  if (!id.has_value()) return std::move(done)(NoNotification(tenant, request.notification_id()));
  outbox_.GetNotification(
      tenant, *id,
      [this, &request, response, tenant,
       done = std::move(done)](absl::StatusOr<Notification> notification) mutable {
        if (absl::IsNotFound(notification.status())) {
          return std::move(done)(NoNotification(tenant, request.notification_id()));
        }
        if (!notification.ok()) return std::move(done)(notification.status());
        FillRecord(*notification, outbox_.ids(), response->mutable_notification());
        std::move(done)(absl::OkStatus());
      });
}

void NotificationHandlers::ListNotifications(const v1::ListNotificationsRequest& request,
                                             v1::ListNotificationsResponse* response,
                                             const CallContext& /*context*/, HandlerDone done) {
  std::string tag = FilterTag(request);
  absl::StatusOr<NotificationFilter> filter = FilterFromProto(request, tag);
  if (!filter.ok()) return std::move(done)(filter.status());
  outbox_.ListNotifications(*std::move(filter), [this, response, tag = std::move(tag),
                                                 done = std::move(done)](
                                                    absl::StatusOr<NotificationPage> page) mutable {
    if (!page.ok()) return std::move(done)(page.status());
    for (const Notification& notification : page->rows) {
      FillRecord(notification, outbox_.ids(), response->add_notifications());
    }
    if (page->next_before.has_value()) {
      response->set_next_page_token(EncodePageToken(tag, static_cast<int64_t>(*page->next_before)));
    }
    std::move(done)(absl::OkStatus());
  });
}

}  // namespace postrider
