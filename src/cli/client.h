#pragma once

#include <memory>
#include <string>
#include <variant>

#include "absl/time/time.h"
#include "google/rpc/status.pb.h"
#include "postrider/v1/delivery_service.pb.h"
#include "postrider/v1/notification_service.pb.h"
#include "postrider/v1/webhook_service.pb.h"
#include "src/cli/client_exit.h"

namespace postrider {

// How to reach a server.
struct ClientOptions {
  std::string server = "127.0.0.1:7411";
  // How long a call may take in all, connecting included.
  absl::Duration timeout = absl::Seconds(30);
  // Speak TLS; the files below imply it. Without it only a loopback address is spoken to, unless
  // `insecure`.
  bool tls = false;
  bool insecure = false;
  // PEM files; empty: the system's authorities, and no certificate of our own.
  std::string tls_ca;
  std::string client_cert;
  std::string client_key;
};

// Calls a server, one call after the other. A call to a server that is not there fails at once. The
// answer is a google.rpc.Status with whatever details the server sent; its code is 0 when the call
// succeeded.
//
// gRPC's headers stay in client.cc: they compile slowly.
class Client {
 public:
  // Why there is no client: what is wrong with the options, or with a file that they name.
  struct Refusal {
    ClientExit exit;
    std::string sentence;
  };

  // Does not connect yet.
  static std::variant<std::unique_ptr<Client>, Refusal> Create(const ClientOptions& options);
  ~Client();

  google::rpc::Status Configure(const v1::ConfigureWebhookRequest& request,
                                v1::ConfigureWebhookResponse* response);
  google::rpc::Status Validate(const v1::ValidateWebhookRequest& request,
                               v1::ValidateWebhookResponse* response);
  google::rpc::Status GetWebhook(const v1::GetWebhookRequest& request,
                                 v1::GetWebhookResponse* response);
  google::rpc::Status ListWebhooks(const v1::ListWebhooksRequest& request,
                                   v1::ListWebhooksResponse* response);
  google::rpc::Status RotateSigningSecret(const v1::RotateSigningSecretRequest& request,
                                          v1::RotateSigningSecretResponse* response);
  google::rpc::Status Publish(const v1::PublishNotificationRequest& request,
                              v1::PublishNotificationResponse* response);
  google::rpc::Status ListDeliveries(const v1::ListDeliveriesRequest& request,
                                     v1::ListDeliveriesResponse* response);
  google::rpc::Status GetDelivery(const v1::GetDeliveryRequest& request,
                                  v1::GetDeliveryResponse* response);
  google::rpc::Status RetryDelivery(const v1::RetryDeliveryRequest& request,
                                    v1::RetryDeliveryResponse* response);

 private:
  struct Impl;
  explicit Client(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace postrider
