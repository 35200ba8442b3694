#include "src/server/rpc_server.h"

#include <grpc/support/log.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <mutex>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "src/base/processors.h"
#include "src/server/call_queue.h"
#include "src/server/health_service.h"
#include "src/server/logging.h"
#include "src/server/tls_certificates.h"

namespace postrider {
namespace {

constexpr int kMaxReceiveBytes = 16 << 20;
constexpr size_t kQuotaBytes = size_t{512} << 20;
// For reflection and for methods that nobody knows, which hold a thread each while they last.
constexpr int kMaxSyncThreads = 16;
constexpr int kMinPingIntervalMs = 10'000;
constexpr int kKeepaliveMs = 60'000;
constexpr int kKeepaliveTimeoutMs = 20'000;

// A second polling thread makes each call dearer (docs/performance.md), and pays only where
// processors would be idle without it.
constexpr unsigned kProcessorsPerQueue = 3;
constexpr unsigned kMaxQueues = 4;

constexpr const char* kServiceNames[] = {"postrider.v1.WebhookService",
                                         "postrider.v1.NotificationService",
                                         "postrider.v1.DeliveryService"};

void LogFromGrpc(gpr_log_func_args* args) {
  const LogLevel level =
      args->severity == GPR_LOG_SEVERITY_ERROR ? LogLevel::kWarn : LogLevel::kDebug;
  Log(level, "grpc", {{"text", args->message}});
}

// What belongs to the process, once.
void InitGrpc() {
  static std::once_flag once;
  std::call_once(once, [] {
    // Debian builds abseil with its deadlock detector, which looks at every lock that gRPC takes.
    absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
    gpr_set_log_function(LogFromGrpc);
    gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

std::variant<std::unique_ptr<TlsCertificates>, Failure> LoadCertificates(
    const ServerConfig& config) {
  if (!config.tls()) return nullptr;
  absl::StatusOr<std::unique_ptr<TlsCertificates>> loaded =
      TlsCertificates::Load({config.tls_cert, config.tls_key, config.tls_client_ca});
  if (!loaded.ok()) {
    return Failure{ExitCode::kConfig, std::string(loaded.status().message())};
  }
  return *std::move(loaded);
}

// Why the address cannot be listened on; empty when it can. gRPC itself does not tell.
std::string WhyNotBound(const HostPort& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int error =
      getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
  if (error != 0) return gai_strerror(error);
  std::string why;
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int yes = 1;
  if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, 1) != 0) {
    why = std::strerror(errno);
  }
  if (fd >= 0) close(fd);
  freeaddrinfo(found);
  return why;
}

Failure NotListening(const ServerConfig& config, const HostPort& address) {
  const std::string why = WhyNotBound(address);
  if (why.empty() && config.tls()) {
    // gRPC does not say which of them it is.
    return {ExitCode::kConfig,
            absl::StrCat("--tls-cert ", config.tls_cert, ", --tls-key ", config.tls_key,
                         " or --tls-client-ca ", config.tls_client_ca,
                         " cannot be used: gRPC refused it")};
  }
  return {ExitCode::kUnavailable,
          absl::StrCat("--listen ", config.listen, " cannot be listened on (",
                       why.empty() ? "gRPC refused it" : why,
                       "): choose another, or stop who holds it")};
}

}  // namespace

std::variant<std::unique_ptr<RpcServer>, Failure> RpcServer::Start(
    const ServerConfig& config, const std::vector<QueuedService*>& services) {
  InitGrpc();
  auto loaded = LoadCertificates(config);
  if (auto* failure = std::get_if<Failure>(&loaded)) return std::move(*failure);
  auto certificates = std::move(std::get<std::unique_ptr<TlsCertificates>>(loaded));
  const std::shared_ptr<grpc::ServerCredentials> credentials =
      certificates == nullptr ? grpc::InsecureServerCredentials() : certificates->MakeCredentials();

  HostPort address = *ParseHostPort(config.listen);
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address.ToString(), credentials, &port);
  auto health = std::make_unique<HealthService>(
      std::vector<std::string>(std::begin(kServiceNames), std::end(kServiceNames)));
  std::vector<QueuedService*> all = services;
  all.push_back(health.get());
  for (QueuedService* queued : all) {
    for (grpc::Service* service : queued->services()) builder.RegisterService(service);
  }
  Queues queues;
  const unsigned count =
      std::clamp(static_cast<unsigned>(UsableProcessors()) / kProcessorsPerQueue, 1U, kMaxQueues);
  for (unsigned i = 0; i < count; ++i) {
    queues.push_back(std::make_unique<CallQueue>(builder.AddCompletionQueue()));
  }
  builder.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  builder.SetResourceQuota(
      grpc::ResourceQuota("postrider").Resize(kQuotaBytes).SetMaxThreads(kMaxSyncThreads));
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  // Else a second server would share the port, and get every other connection.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kMinPingIntervalMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) return NotListening(config, address);

  for (const std::unique_ptr<CallQueue>& queue : queues) {
    for (QueuedService* queued : all) queued->TakeCalls(*queue);
  }
  for (size_t i = 0; i < queues.size(); ++i) queues[i]->Start(absl::StrCat("grpc-queue-", i));
  address.port = port;
  return std::unique_ptr<RpcServer>(new RpcServer(std::move(certificates), std::move(health),
                                                  std::move(queues), std::move(server),
                                                  std::move(address)));
}

RpcServer::RpcServer(std::unique_ptr<TlsCertificates> certificates,
                     std::unique_ptr<HealthService> health, Queues queues,
                     std::unique_ptr<grpc::Server> server, HostPort address)
    : certificates_(std::move(certificates)),
      health_(std::move(health)),
      queues_(std::move(queues)),
      server_(std::move(server)),
      address_(std::move(address)) {}

RpcServer::~RpcServer() = default;

void RpcServer::SetServing(bool serving) { health_->SetServing(serving); }

absl::Status RpcServer::ReloadCertificates() {
  return certificates_ == nullptr ? absl::OkStatus() : certificates_->Reload();
}

void RpcServer::Shutdown(absl::Duration timeout) {
  health_->EndWatches();
  server_->Shutdown(absl::ToChronoTime(absl::Now() + timeout));
  for (const std::unique_ptr<CallQueue>& queue : queues_) queue->Shutdown();
}

}  // namespace postrider
