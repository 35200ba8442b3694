#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <tuple>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/grpcpp.h"
#include "postrider/v1/delivery_service.grpc.pb.h"
#include "postrider/v1/notification_service.grpc.pb.h"
#include "postrider/v1/webhook_service.grpc.pb.h"
#include "tests/e2e/process.h"

namespace postrider {

// What a call came back with, its details taken from the trailer.
struct RpcResult {
  grpc::StatusCode code = grpc::StatusCode::OK;
  std::string message;
  google::rpc::Status details;

  bool ok() const { return code == grpc::StatusCode::OK; }
  // The detail of that type. Nothing when there is none.
  template <typename Detail>
  std::optional<Detail> Get() const {
    Detail detail;
    for (const auto& any : details.details()) {
      if (any.UnpackTo(&detail)) return detail;
    }
    return std::nullopt;
  }
  // The fields that BadRequest names, in its order.
  std::vector<std::string> Fields() const;
};
std::ostream& operator<<(std::ostream& out, const RpcResult& result);

// A client of the server at that address. Thread-safe.
class ApiClient {
 public:
  explicit ApiClient(const std::string& address);

  // Calls `stub.method(request)`, as in Call(&v1::WebhookService::Stub::GetWebhook, request,
  // &answer).
  template <typename Stub, typename Request, typename Response>
  RpcResult Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                 const Request& request, Response* response,
                 absl::Duration timeout = kPatience) const {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    return Result(
        (std::get<std::unique_ptr<Stub>>(stubs_).get()->*method)(&context, request, response),
        context);
  }

  // Each of these fails the test when the server says anything but OK.

  // Returns the signing secret, empty when the webhook was there before.
  std::string Configure(const v1::Webhook& webhook) const;
  // Returns the id.
  std::string Publish(const std::string& json_payload, const std::string& type = "TEST",
                      const std::string& key = "") const;
  v1::Webhook GetWebhook(const std::string& name) const;
  std::vector<v1::Delivery> ListDeliveries(const std::string& webhook,
                                           v1::DeliveryState state) const;
  v1::GetDeliveryResponse GetDelivery(const std::string& id) const;
  // Waits until so many deliveries of the webhook are in the state.
  std::vector<v1::Delivery> WaitForDeliveries(const std::string& webhook, v1::DeliveryState state,
                                              size_t count) const;

 private:
  static RpcResult Result(const grpc::Status& status, const grpc::ClientContext& context);

  std::tuple<std::unique_ptr<v1::WebhookService::Stub>,
             std::unique_ptr<v1::NotificationService::Stub>,
             std::unique_ptr<v1::DeliveryService::Stub>>
      stubs_;
};

// An enabled webhook for all types, whose retries come after `backoff`, always.
v1::Webhook WebhookAt(const std::string& name, const std::string& url,
                      absl::Duration backoff = absl::Milliseconds(20));
google::protobuf::Duration ToProtoDuration(absl::Duration duration);

// The body that a notification with that payload is delivered with, when Publish above sent it.
std::string BodyOf(const std::string& json_payload, const std::string& type = "TEST");

// Calls `condition` again and again until it is true. False when the time passed first.
bool Eventually(const std::function<bool()>& condition, absl::Duration timeout = kPatience);

}  // namespace postrider
