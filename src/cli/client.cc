#include "src/cli/client.h"

#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpcpp/grpcpp.h"
#include "postrider/v1/delivery_service.grpc.pb.h"
#include "postrider/v1/notification_service.grpc.pb.h"
#include "postrider/v1/webhook_service.grpc.pb.h"
#include "src/cli/input.h"
#include "src/cli/server_probe.h"

namespace postrider {
namespace {

// A page of 1,000 notifications may be large.
constexpr int kMaxAnswerBytes = 64 << 20;

bool UsesTls(const ClientOptions& options) {
  return options.tls || !options.tls_ca.empty() || !options.client_cert.empty();
}

// What is told of a call that did not get through: gRPC says only that it did not.
std::string WhyNotReached(const ClientOptions& options, const std::string& otherwise) {
  const HostAndPort address = *ParseHostAndPort(options.server);
  const bool tls = UsesTls(options);
  switch (ProbeServer(address.host, address.port)) {
    case Answerer::kTls:
      if (!tls) {
        return absl::StrCat("the server at ", options.server,
                            " speaks TLS, and was called without: give --tls-ca FILE with its "
                            "authority, or --tls if the system trusts it");
      }
      return absl::StrCat("the server at ", options.server,
                          " speaks TLS, but it and this client do not trust each other: see that "
                          "--tls-ca is its authority, that its certificate is for ",
                          address.host, ", and whether it wants a --client-cert (", otherwise, ")");
    case Answerer::kPlain:
      if (!tls) return otherwise;
      return absl::StrCat("the server at ", options.server,
                          " does not speak TLS: leave out the TLS flags",
                          address.IsLoopback() ? "" : ", and give --insecure");
    case Answerer::kUnknown:
      return absl::StrCat("what answers at ", options.server,
                          " is no Postrider server: --server wants its gRPC address (", otherwise,
                          ")");
    case Answerer::kNobody:
      break;
  }
  return otherwise;
}

google::rpc::Status ToRpc(const grpc::Status& status, const ClientOptions& options) {
  const std::string& server = options.server;
  google::rpc::Status result;
  if (status.ok()) return result;
  // The details repeat code and message, and add to them.
  if (!status.error_details().empty() && result.ParseFromString(status.error_details()) &&
      result.code() == static_cast<int>(status.error_code())) {
    return result;
  }
  result.Clear();
  result.set_code(static_cast<int>(status.error_code()));
  result.set_message(status.error_message());
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE) {
    result.set_message(WhyNotReached(options, absl::StrCat("no Postrider server was reached at ",
                                                           server, " (", status.error_message(),
                                                           ")")));
  } else if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
    result.set_message(WhyNotReached(
        options, absl::StrCat("the server at ", server, " did not answer in time: is it running? "
                              "--timeout gives it more")));
  }
  return result;
}

}  // namespace

struct Client::Impl {
  explicit Impl(const ClientOptions& from) : options(from) {}

  std::unique_ptr<grpc::ClientContext> Context() const {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(absl::ToChronoTime(absl::Now() + options.timeout));
    return context;
  }

  void Connect(std::shared_ptr<grpc::ChannelCredentials> credentials) {
    grpc::ChannelArguments arguments;
    // A proxy of the environment must not come between by accident.
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    arguments.SetMaxReceiveMessageSize(kMaxAnswerBytes);
    const auto channel = grpc::CreateCustomChannel(options.server, credentials, arguments);
    webhooks = v1::WebhookService::NewStub(channel);
    notifications = v1::NotificationService::NewStub(channel);
    deliveries = v1::DeliveryService::NewStub(channel);
  }

  const ClientOptions options;
  std::unique_ptr<v1::WebhookService::Stub> webhooks;
  std::unique_ptr<v1::NotificationService::Stub> notifications;
  std::unique_ptr<v1::DeliveryService::Stub> deliveries;
};

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::~Client() = default;

std::variant<std::unique_ptr<Client>, Client::Refusal> Client::Create(
    const ClientOptions& options) {
  const auto usage = [](std::string sentence) {
    return Refusal{ClientExit::kUsage, std::move(sentence)};
  };
  const std::optional<HostAndPort> address = ParseHostAndPort(options.server);
  if (!address.has_value()) {
    return usage(absl::StrCat("--server \"", options.server,
                              "\" is not an address: write HOST:PORT, as in 127.0.0.1:7411"));
  }
  if (options.client_cert.empty() != options.client_key.empty()) {
    return usage("--client-cert and --client-key go together: give both or neither");
  }
  const bool tls = UsesTls(options);
  if (tls && options.insecure) {
    return usage("--insecure means without TLS: leave it out, or the TLS flags");
  }
  if (!tls && !options.insecure && !address->IsLoopback()) {
    return usage(absl::StrCat("--server ", options.server,
                              " is not a loopback address: give --tls or --tls-ca FILE, or "
                              "--insecure if everybody on the way may read along"));
  }

  auto impl = std::make_unique<Impl>(options);
  if (!tls) {
    impl->Connect(grpc::InsecureChannelCredentials());
    return std::unique_ptr<Client>(new Client(std::move(impl)));
  }
  grpc::SslCredentialsOptions ssl;
  const std::pair<const std::string*, std::string*> files[] = {
      {&options.tls_ca, &ssl.pem_root_certs},
      {&options.client_cert, &ssl.pem_cert_chain},
      {&options.client_key, &ssl.pem_private_key}};
  for (const auto& [path, target] : files) {
    if (path->empty()) continue;
    std::optional<std::string> error = ReadInput(*path, target);
    if (error.has_value()) return Refusal{ClientExit::kNoInput, *std::move(error)};
  }
  impl->Connect(grpc::SslCredentials(ssl));
  return std::unique_ptr<Client>(new Client(std::move(impl)));
}

google::rpc::Status Client::Configure(const v1::ConfigureWebhookRequest& request,
                                      v1::ConfigureWebhookResponse* response) {
  return ToRpc(impl_->webhooks->ConfigureWebhook(impl_->Context().get(), request, response),
               impl_->options);
}

google::rpc::Status Client::Validate(const v1::ValidateWebhookRequest& request,
                                     v1::ValidateWebhookResponse* response) {
  return ToRpc(impl_->webhooks->ValidateWebhook(impl_->Context().get(), request, response),
               impl_->options);
}

google::rpc::Status Client::GetWebhook(const v1::GetWebhookRequest& request,
                                       v1::GetWebhookResponse* response) {
  return ToRpc(impl_->webhooks->GetWebhook(impl_->Context().get(), request, response),
               impl_->options);
}

google::rpc::Status Client::ListWebhooks(const v1::ListWebhooksRequest& request,
                                         v1::ListWebhooksResponse* response) {
  return ToRpc(impl_->webhooks->ListWebhooks(impl_->Context().get(), request, response),
               impl_->options);
}

google::rpc::Status Client::RotateSigningSecret(const v1::RotateSigningSecretRequest& request,
                                                v1::RotateSigningSecretResponse* response) {
  return ToRpc(impl_->webhooks->RotateSigningSecret(impl_->Context().get(), request, response),
               impl_->options);
}

google::rpc::Status Client::Publish(const v1::PublishNotificationRequest& request,
                                    v1::PublishNotificationResponse* response) {
  return ToRpc(impl_->notifications->PublishNotification(impl_->Context().get(), request, response),
               impl_->options);
}

google::rpc::Status Client::ListDeliveries(const v1::ListDeliveriesRequest& request,
                                           v1::ListDeliveriesResponse* response) {
  return ToRpc(impl_->deliveries->ListDeliveries(impl_->Context().get(), request, response),
               impl_->options);
}

google::rpc::Status Client::GetDelivery(const v1::GetDeliveryRequest& request,
                                        v1::GetDeliveryResponse* response) {
  return ToRpc(impl_->deliveries->GetDelivery(impl_->Context().get(), request, response),
               impl_->options);
}

google::rpc::Status Client::RetryDelivery(const v1::RetryDeliveryRequest& request,
                                          v1::RetryDeliveryResponse* response) {
  return ToRpc(impl_->deliveries->RetryDelivery(impl_->Context().get(), request, response),
               impl_->options);
}

}  // namespace postrider
