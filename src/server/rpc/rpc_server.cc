#include "src/server/rpc/rpc_server.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/grpc.h>
#include <grpc/support/log.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <iterator>
#include <mutex>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "src/base/processors.h"
#include "src/server/observe/logging.h"
#include "src/server/rpc/acceptor.h"
#include "src/server/rpc/call_queue.h"
#include "src/server/rpc/caller_connections.h"
#include "src/server/rpc/health_service.h"
#include "src/server/rpc/reflection_service.h"
#include "src/server/rpc/tls_certificates.h"

namespace postrider {
namespace {

// More than a request may be (raw_service.h), so that who sends too much hears of it from us; what
// is larger still is refused by gRPC, before it has come.
constexpr int kMaxReceiveBytes = 64 << 20;
constexpr size_t kQuotaBytes = size_t{512} << 20;
// For reflection and for methods that nobody knows, which hold a thread each while they last.
constexpr int kMaxSyncThreads = 16;
constexpr int kGrpcLinesPerSecond = 10;
constexpr int kMinPingIntervalMs = 10'000;
constexpr int kKeepaliveMs = 60'000;
constexpr int kKeepaliveTimeoutMs = 20'000;
// Of one connection. A client with more of them at once waits, or opens another.
constexpr int kMaxStreams = 1024;
// Of one call; less than what FrameGuard cuts off.
constexpr int kMaxMetadataBytes = 16 << 10;
// A caller who has not taken his answer by then does not get it.
constexpr absl::Duration kMaxUnsent = absl::Minutes(1);

// A second polling thread on two processors makes a publish a third dearer (docs/performance.md).
// It pays only where processors would be idle without it. What one connection can ask of a thread
// before FrameGuard cuts it off is bounded.
constexpr unsigned kProcessorsPerQueue = 3;
constexpr unsigned kMinQueues = 1;
constexpr unsigned kMaxQueues = 4;

constexpr const char* kServiceNames[] = {"postrider.v1.WebhookService",
                                         "postrider.v1.NotificationService",
                                         "postrider.v1.DeliveryService"};

int Millis(absl::Duration duration) {
  return static_cast<int>(absl::ToInt64Milliseconds(duration));
}

// Whoever connects can make gRPC complain.
void LogFromGrpc(gpr_log_func_args* args) {
  static auto* const limiter = new LogLimiter(SystemClock(), kGrpcLinesPerSecond);
  uint64_t suppressed = 0;
  if (!limiter->Allow(&suppressed)) return;
  const LogLevel level =
      args->severity == GPR_LOG_SEVERITY_ERROR ? LogLevel::kWarn : LogLevel::kDebug;
  Log(level, "grpc", {{"text", args->message}, {"suppressed", absl::StrCat(suppressed)}});
}

// protobuf writes to standard error what callers make it complain of, such as text that is no
// UTF-8.
void LogFromProtobuf(google::protobuf::LogLevel level, const char* /*file*/, int /*line*/,
                     const std::string& message) {
  static auto* const limiter = new LogLimiter(SystemClock(), kGrpcLinesPerSecond);
  uint64_t suppressed = 0;
  if (!limiter->Allow(&suppressed)) return;
  Log(level == google::protobuf::LOGLEVEL_FATAL ? LogLevel::kError : LogLevel::kDebug, "protobuf",
      {{"text", message}, {"suppressed", absl::StrCat(suppressed)}});
}

// What belongs to the process, once.
void InitGrpc() {
  static std::once_flag once;
  std::call_once(once, [] {
    // Debian builds abseil with its deadlock detector, which looks at every lock that gRPC takes.
    absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
    gpr_set_log_function(LogFromGrpc);
    gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);
    google::protobuf::SetLogHandler(LogFromProtobuf);
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

Failure NotListening(const ServerConfig& config, const absl::Status& status) {
  return {ExitCode::kUnavailable,
          absl::StrCat("--listen ", config.listen, " cannot be listened on (",
                       std::string(status.message()), "): ",
                       absl::IsResourceExhausted(status)
                           ? "raise the limit of open files"
                           : "choose another, or stop who holds it")};
}

std::vector<std::string> ReflectedNames() {
  std::vector<std::string> names(std::begin(kServiceNames), std::end(kServiceNames));
  names.insert(names.end(), {"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
                             "grpc.reflection.v1alpha.ServerReflection"});
  return names;
}

CallerConnections::Limits LimitsOf(const ServerConfig& config) {
  CallerConnections::Limits limits;
  if (config.grpc_max_connections > 0) limits.in_all = config.grpc_max_connections;
  limits.per_peer = config.grpc_max_connections_per_peer > 0
                        ? config.grpc_max_connections_per_peer
                        : std::max(1, limits.in_all / 2);
  limits.encrypted = config.tls();
  return limits;
}

// What gRPC can be told to bound.
void SetLimits(const ServerConfig& config, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(kMaxReceiveBytes);
  builder->SetResourceQuota(
      grpc::ResourceQuota("postrider").Resize(kQuotaBytes).SetMaxThreads(kMaxSyncThreads));
  builder->SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder->AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                              Millis(config.grpc_handshake_timeout));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreams);
  builder->AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              kMinPingIntervalMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  // A megabyte may be inflated to a gigabyte, and gRPC looks at the size afterwards: so nothing is
  // inflated, and a call that says that it is compressed is answered UNIMPLEMENTED.
  builder->AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  builder->SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder->SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
}

}  // namespace

struct RpcServer::Parts {
  std::unique_ptr<TlsCertificates> certificates;
  std::shared_ptr<CallerConnections> connections;
  std::unique_ptr<HealthService> health;
  std::unique_ptr<ReflectionService> reflection;
  Queues queues;
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<Acceptor> acceptor;
};

std::variant<std::unique_ptr<RpcServer>, Failure> RpcServer::Start(
    const ServerConfig& config, const std::vector<QueuedService*>& services) {
  InitGrpc();
  auto loaded = LoadCertificates(config);
  if (auto* failure = std::get_if<Failure>(&loaded)) return std::move(*failure);
  Parts parts;
  parts.certificates = std::move(std::get<std::unique_ptr<TlsCertificates>>(loaded));
  const std::shared_ptr<grpc::ServerCredentials> credentials =
      parts.certificates == nullptr ? grpc::InsecureServerCredentials()
                                    : parts.certificates->MakeCredentials();
  parts.connections = CallerConnections::Create(LimitsOf(config));
  absl::StatusOr<std::unique_ptr<Acceptor>> acceptor =
      Acceptor::Listen(*ParseHostPort(config.listen), parts.connections);
  if (!acceptor.ok()) return NotListening(config, acceptor.status());
  parts.acceptor = *std::move(acceptor);

  grpc::ServerBuilder builder;
  std::shared_ptr<grpc::experimental::ExternalConnectionAcceptor> to_grpc =
      builder.experimental().AddExternalConnectionAcceptor(
          grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
          credentials);
  parts.health = std::make_unique<HealthService>(
      std::vector<std::string>(std::begin(kServiceNames), std::end(kServiceNames)));
  parts.reflection = std::make_unique<ReflectionService>(ReflectedNames());
  std::vector<QueuedService*> all = services;
  all.push_back(parts.health.get());
  for (QueuedService* queued : all) {
    for (grpc::Service* service : queued->services()) builder.RegisterService(service);
  }
  builder.RegisterService(parts.reflection.get());
  const unsigned wanted = static_cast<unsigned>(UsableProcessors()) / kProcessorsPerQueue;
  const unsigned count = std::clamp(wanted, kMinQueues, kMaxQueues);
  for (unsigned i = 0; i < count; ++i) {
    parts.queues.push_back(std::make_unique<CallQueue>(builder.AddCompletionQueue()));
  }
  SetLimits(config, &builder);
  parts.server = builder.BuildAndStart();
  if (parts.server == nullptr) {
    return Failure{ExitCode::kInternal, "gRPC does not start: its log says more"};
  }

  for (const std::unique_ptr<CallQueue>& queue : parts.queues) {
    for (QueuedService* queued : all) queued->TakeCalls(*queue);
  }
  for (size_t i = 0; i < parts.queues.size(); ++i) {
    parts.queues[i]->Start(absl::StrCat("grpc-queue-", i));
  }
  std::vector<CallQueue*> watched;
  for (const std::unique_ptr<CallQueue>& queue : parts.queues) watched.push_back(queue.get());
  parts.acceptor->Start(
      [to_grpc](int fd) {
        grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
        connection.fd = fd;
        to_grpc->HandleNewConnection(&connection);
      },
      [queues = std::move(watched)] {
        for (CallQueue* queue : queues) queue->unsent().GiveUpOlderThan(kMaxUnsent);
      });
  return std::unique_ptr<RpcServer>(new RpcServer(std::move(parts)));
}

RpcServer::RpcServer(Parts parts)
    : certificates_(std::move(parts.certificates)),
      connections_(std::move(parts.connections)),
      health_(std::move(parts.health)),
      reflection_(std::move(parts.reflection)),
      queues_(std::move(parts.queues)),
      server_(std::move(parts.server)),
      acceptor_(std::move(parts.acceptor)) {}

RpcServer::~RpcServer() = default;

RpcServer::AfterAll::~AfterAll() {
  grpc_init();
  grpc_shutdown_blocking();
}

void RpcServer::SetServing(bool serving) { health_->SetServing(serving); }

bool RpcServer::CanAccept() const { return acceptor_->CanAccept(); }

const HostPort& RpcServer::address() const { return acceptor_->address(); }

absl::Status RpcServer::ReloadCertificates() {
  return certificates_ == nullptr ? absl::OkStatus() : certificates_->Reload();
}

void RpcServer::Shutdown(absl::Duration timeout) {
  // A connection that gRPC is given from here on is nobody's.
  acceptor_->Stop();
  health_->EndWatches();
  server_->Shutdown(absl::ToChronoTime(absl::Now() + timeout));
  for (const std::unique_ptr<CallQueue>& queue : queues_) queue->Shutdown();
}

}  // namespace postrider
