#include "src/server/app/app.h"

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/base/clock.h"
#include "src/base/mutex.h"
#include "src/base/random.h"
#include "src/delivery/dispatcher.h"
#include "src/http/address_policy.h"
#include "src/outbox/sqlite/sqlite_outbox.h"
#include "src/server/api/call_gate.h"
#include "src/server/api/delivery_handlers.h"
#include "src/server/api/notification_handlers.h"
#include "src/server/api/webhook_handlers.h"
#include "src/server/api/webhook_tester.h"
#include "src/server/app/descriptor_budget.h"
#include "src/server/app/call_log.h"
#include "src/server/app/engine_log.h"
#include "src/server/app/engine_status.h"
#include "src/server/app/metrics.h"
#include "src/server/app/pump.h"
#include "src/server/app/version.h"
#include "src/server/observe/logging.h"
#include "src/server/rpc/caller_connections.h"
#include "src/server/rpc/rpc_server.h"
#include "src/server/rpc/rpc_services.h"
#include "src/server/web/admin_http.h"

namespace postrider {
namespace {

// Beside what waits for the disk, requests and answers are held while they are parsed and sent.
constexpr uint64_t kMinInFlightBytes = uint64_t{64} << 20;
// When the server stops, callers get this long to take their answers.
constexpr absl::Duration kRpcShutdownTimeout = absl::Seconds(2);
constexpr int kDisabledLoggedPerSecond = 10;
constexpr size_t kHttpShareOfFiles = 8;
constexpr size_t kMinHttpConnections = 64;
// What the process knows and the disk does not is sent again when the process dies: little, for
// fewer commits.
constexpr absl::Duration kRecordLinger = absl::Milliseconds(5);

std::variant<std::vector<Cidr>, Failure> ParseNetworks(const std::vector<std::string>& texts) {
  std::vector<Cidr> networks;
  for (const std::string& text : texts) {
    absl::StatusOr<Cidr> cidr = Cidr::Parse(text);
    if (!cidr.ok()) {
      return Failure{ExitCode::kUsage, absl::StrCat("--allow-network ", text, ": ",
                                                    std::string(cidr.status().message()))};
    }
    networks.push_back(*cidr);
  }
  return networks;
}

// Those who watch must leave descriptors to those who call, and to the receivers.
HttpServerLimits HttpLimits(const ServerConfig& config) {
  HttpServerLimits limits = config.http_limits;
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return limits;
  const auto share = std::max<size_t>(files.rlim_cur / kHttpShareOfFiles, kMinHttpConnections);
  if (limits.max_connections <= share) return limits;
  limits.max_connections = share;
  Log(LogLevel::kInfo,
      "fewer HTTP connections than --http-max-connections: the limit of open files",
      {{"connections", absl::StrCat(share)}, {"limit", absl::StrCat(files.rlim_cur)}});
  return limits;
}

void LogNotice(OutboxNotice notice, int64_t log_bytes) {
  const std::string bytes = absl::StrCat(log_bytes);
  switch (notice) {
    case OutboxNotice::kLogHeld:
      Log(LogLevel::kWarn,
          "the outbox's log grows, since a reader keeps it from beginning anew: see which other "
          "process has outbox.db open, and end it",
          {{"log_bytes", bytes}});
      break;
    case OutboxNotice::kLogFree:
      Log(LogLevel::kInfo, "the outbox's log has begun anew: the reader is gone");
      break;
    case OutboxNotice::kDiskFull:
      Log(LogLevel::kWarn,
          "the disk is full: what comes of deliveries cannot be recorded, and nothing is sent "
          "until there is room");
      break;
    case OutboxNotice::kDiskHasRoom:
      Log(LogLevel::kInfo, "the disk has room again");
      break;
    case OutboxNotice::kWriteLockHeld:
      Log(LogLevel::kWarn,
          "writes were refused, since another process holds the outbox's write lock: see which one "
          "has outbox.db open, and end it");
      break;
  }
}

SqliteOutboxOptions OutboxOptions(const ServerConfig& config) {
  SqliteOutboxOptions options;
  options.data_directory = config.data_dir;
  options.max_bytes = static_cast<int64_t>(config.max_outbox_bytes);
  options.min_free_bytes = config.min_free_bytes;
  options.max_attempt_bytes = static_cast<int64_t>(config.max_attempt_bytes);
  options.max_tenant_attempt_bytes = static_cast<int64_t>(config.max_tenant_attempt_bytes);
  options.max_queued_bytes = static_cast<size_t>(config.max_queue_bytes);
  options.max_queued_writes = config.max_queued_writes;
  options.max_queued_reads = config.max_queued_reads;
  options.retention = config.retention;
  options.on_notice = LogNotice;
  return options;
}

CallShares::Amount CallLimits(const ServerConfig& config) {
  return {config.grpc_max_calls,
          static_cast<int64_t>(std::max(2 * config.max_queue_bytes, kMinInFlightBytes)),
          static_cast<int64_t>(config.grpc_max_answer_bytes)};
}

Failure OutboxFailure(const absl::Status& status) {
  ExitCode code = ExitCode::kIo;
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      code = ExitCode::kUsage;
      break;
    case absl::StatusCode::kDataLoss:
      code = ExitCode::kData;
      break;
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
      code = ExitCode::kCannotUse;
      break;
    case absl::StatusCode::kInternal:
      code = ExitCode::kInternal;
      break;
    default:
      break;
  }
  return {code, std::string(status.message())};
}

}  // namespace

struct App::Impl {
  Impl(const ServerConfig& given, const DescriptorBudget& divided, Notify to_notify)
      : config(given),
        budget(divided),
        notify(std::move(to_notify)),
        disabled_limiter(SystemClock(), kDisabledLoggedPerSecond),
        engine_log(SystemClock()),
        dispatcher(config.max_queue_bytes,
                   [this](const Webhook& webhook) { LogDisabled(webhook); }),
        call_log(SystemClock()),
        gate(SystemClock(), CallLimits(config), &call_log),
        services(gate) {}

  std::optional<Failure> Bind();
  std::optional<Failure> OpenOutbox();
  std::optional<Failure> MakePumps();
  std::optional<Failure> LoadWebhooks();
  void OpenServices();
  CurlTransportOptions TransportOptions() const;
  void LogDisabled(const Webhook& webhook);
  void OnDiskFailure(const absl::Status& status);

  const ServerConfig config;
  const DescriptorBudget budget;
  const Notify notify;

  // In the order of their making. What is below uses what is above: but the outbox's last answers
  // go to the pumps, so Stop ends the outbox first.
  LogLimiter disabled_limiter;
  EngineLog engine_log;
  SecureRandom random;
  std::vector<Cidr> networks;
  std::unique_ptr<AddressPolicy> policy;
  Dispatcher dispatcher;
  CallLog call_log;
  CallGate gate;
  RpcServices services;
  std::unique_ptr<RpcServer> rpc_server;
  std::unique_ptr<MetricsPage> metrics_page;
  std::unique_ptr<AdminHttp> admin_http;
  std::vector<std::unique_ptr<Pump>> pumps;
  std::unique_ptr<SqliteOutbox> outbox;
  std::unique_ptr<WebhookTester> tester;
  EngineStatus engine_status{dispatcher};
  std::unique_ptr<WebhookHandlers> webhooks;
  std::unique_ptr<NotificationHandlers> notifications;
  std::unique_ptr<DeliveryHandlers> deliveries;

  std::atomic<bool> serving{false};
  bool draining = false;
  bool stopped = false;

  // What /metrics shows: set when everything is there, cleared when Stop begins.
  Mutex page_mutex;
  const MetricsPage* page ABSL_GUARDED_BY(page_mutex) = nullptr;

  Mutex failure_mutex;
  std::optional<Failure> disk_failure ABSL_GUARDED_BY(failure_mutex);
};

std::optional<Failure> App::Impl::Bind() {
  auto rpc = RpcServer::Start(config, {&services});
  if (auto* failure = std::get_if<Failure>(&rpc)) return std::move(*failure);
  rpc_server = std::move(std::get<std::unique_ptr<RpcServer>>(rpc));

  AdminHttp::Pages pages;
  pages.metrics = [this]() -> std::string {
    MutexLock lock(&page_mutex);
    return page == nullptr ? "" : page->Text();
  };
  // Not when a caller that is new would wait in vain.
  pages.ready = [this] { return serving.load() && rpc_server->CanAccept(); };
  absl::StatusOr<std::unique_ptr<AdminHttp>> http =
      AdminHttp::Start(*ParseHostPort(config.http_listen), HttpLimits(config), std::move(pages));
  if (!http.ok()) return Failure{ExitCode::kUnavailable, std::string(http.status().message())};
  admin_http = *std::move(http);
  return std::nullopt;
}

std::optional<Failure> App::Impl::OpenOutbox() {
  absl::StatusOr<std::unique_ptr<SqliteOutbox>> opened =
      SqliteOutbox::Open(OutboxOptions(config), SystemClock(), &dispatcher,
                         [this](const absl::Status& status) { OnDiskFailure(status); });
  if (!opened.ok()) return OutboxFailure(opened.status());
  outbox = *std::move(opened);
  return std::nullopt;
}

std::optional<Failure> App::Impl::MakePumps() {
  EngineOptions options;
  options.version = kVersion;
  options.record_linger = kRecordLinger;
  options.listener = &engine_log;
  const auto count = static_cast<size_t>(config.pump_threads);
  options.max_queued_bytes =
      std::max<size_t>(config.max_queue_bytes / count, config.max_notification_bytes);
  std::vector<Dispatcher::Lane> lanes;
  std::vector<WebhookTester::Lane> test_lanes;
  for (size_t i = 0; i < count; ++i) {
    absl::StatusOr<std::unique_ptr<Pump>> pump =
        Pump::Create(options, SystemClock(), *policy, *outbox, random.Next(), TransportOptions());
    if (!pump.ok()) {
      return Failure{ExitCode::kUnavailable, std::string(pump.status().message())};
    }
    pumps.push_back(*std::move(pump));
    lanes.push_back({&pumps.back()->executor(), &pumps.back()->engine()});
    test_lanes.push_back({&pumps.back()->executor(), &pumps.back()->transport()});
  }
  Pump::Connect(pumps);
  dispatcher.SetLanes(lanes);
  tester = std::make_unique<WebhookTester>(std::move(test_lanes), SystemClock(), kVersion);
  for (const auto& pump : pumps) pump->Start(notify);
  return std::nullopt;
}

CurlTransportOptions App::Impl::TransportOptions() const {
  CurlTransportOptions options;
  // Idle ones keep at most half of them from others: there are eight groups of connections.
  options.max_kept_connections = std::clamp<size_t>(
      static_cast<size_t>(budget.receivers_per_pump) / 16, 1, options.max_kept_connections);
  options.descriptor_ceiling = [this] {
    const auto callers = static_cast<int>(rpc_server->connections().metrics().open.value());
    return budget.limit - budget.own - budget.http - std::max(0, budget.callers - callers);
  };
  return options;
}

std::optional<Failure> App::Impl::LoadWebhooks() {
  struct Wait {
    Mutex mutex;
    CondVar ended;
    bool done ABSL_GUARDED_BY(mutex) = false;
    absl::Status status ABSL_GUARDED_BY(mutex);
  };
  Wait wait;
  size_t count = 0;
  outbox->LoadWebhooks([this, &wait, &count](absl::StatusOr<std::vector<StartingWebhook>> found) {
    if (found.ok()) {
      count = found->size();
      dispatcher.Start(*found);
    }
    MutexLock lock(&wait.mutex);
    wait.done = true;
    wait.status = found.status();
    wait.ended.Signal();
  });
  MutexLock lock(&wait.mutex);
  while (!wait.done) wait.ended.Wait(&wait.mutex);
  if (!wait.status.ok()) return OutboxFailure(wait.status);
  Log(LogLevel::kInfo, "webhooks loaded", {{"count", absl::StrCat(count)}});
  return std::nullopt;
}

void App::Impl::OpenServices() {
  webhooks = std::make_unique<WebhookHandlers>(*outbox, *tester, engine_status, SystemClock(),
                                               random);
  webhooks->SetOnValid(
      [this](WebhookId id, int64_t version) { dispatcher.OnValidated(id, version); });
  notifications = std::make_unique<NotificationHandlers>(
      *outbox, static_cast<size_t>(config.max_notification_bytes));
  deliveries = std::make_unique<DeliveryHandlers>(*outbox, engine_status, SystemClock());

  metrics_page = std::make_unique<MetricsPage>();
  AddProcessMetrics(metrics_page.get());
  AddServerMetrics(config, metrics_page.get());
  services.AddMetrics(metrics_page.get());
  AddConnectionMetrics(rpc_server->connections().metrics(), metrics_page.get());
  AddOutboxMetrics(outbox->metrics(), metrics_page.get());
  for (size_t i = 0; i < pumps.size(); ++i) {
    AddPumpMetrics(pumps[i]->metrics(), static_cast<int>(i), metrics_page.get());
  }
  AddHttpMetrics(admin_http->metrics(), metrics_page.get());
  metrics_page->AddCounter("postrider_dispatch_left_on_disk_total",
                           "Deliveries not handed to a pump in memory, since too much was on the "
                           "way; they are read from disk.",
                           {}, dispatcher.left_on_disk());
  {
    MutexLock lock(&page_mutex);
    page = metrics_page.get();
  }

  gate.Open({webhooks.get(), notifications.get(), deliveries.get()});
  serving = true;
  rpc_server->SetServing(true);
}

void App::Impl::LogDisabled(const Webhook& webhook) {
  uint64_t suppressed = 0;
  if (!disabled_limiter.Allow(&suppressed)) return;
  Log(LogLevel::kWarn, "webhook disabled: see to its receiver, then configure it again",
      {{"tenant", webhook.tenant},
       {"webhook", webhook.name},
       {"reason", webhook.disabled_reason},
       {"suppressed", absl::StrCat(suppressed)}});
}

void App::Impl::OnDiskFailure(const absl::Status& status) {
  Log(LogLevel::kError,
      "the disk failed, and what was not acknowledged may or may not be stored: see to the disk, "
      "then start again",
      {{"data_dir", config.data_dir}, {"error", status.ToString()}});
  {
    MutexLock lock(&failure_mutex);
    disk_failure =
        Failure{absl::IsDataLoss(status) ? ExitCode::kData : ExitCode::kIo, status.ToString()};
  }
  if (notify) notify();
}

std::variant<std::unique_ptr<App>, Failure> App::Start(const ServerConfig& given, Notify notify) {
  ServerConfig config = given;
  auto budget = DivideDescriptors(RaiseDescriptorLimit(), config.pump_threads,
                                  config.grpc_max_connections);
  if (auto* failure = std::get_if<Failure>(&budget)) return std::move(*failure);
  const auto& divided = std::get<DescriptorBudget>(budget);
  config.grpc_max_connections = divided.callers;
  HttpServerLimits& http = config.http_limits;
  const auto for_http = static_cast<size_t>(divided.http);
  http.reserved_connections = std::min(http.reserved_connections, for_http / 4);
  http.max_connections = std::min(http.max_connections, for_http - http.reserved_connections);
  auto impl = std::make_unique<Impl>(config, divided, std::move(notify));
  auto networks = ParseNetworks(config.allow_networks);
  if (auto* failure = std::get_if<Failure>(&networks)) return std::move(*failure);
  impl->policy = std::make_unique<AddressPolicy>(std::move(std::get<std::vector<Cidr>>(networks)));

  // From here on the destructor has something to stop.
  std::unique_ptr<App> app(new App(std::move(impl)));
  for (auto step : {&Impl::Bind, &Impl::OpenOutbox, &Impl::MakePumps, &Impl::LoadWebhooks}) {
    if (std::optional<Failure> failure = (app->impl_.get()->*step)()) return *std::move(failure);
  }
  app->impl_->OpenServices();
  return app;
}

App::App(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
App::~App() { Stop(); }

HostPort App::grpc_address() const { return impl_->rpc_server->address(); }
HostPort App::http_address() const { return impl_->admin_http->address(); }

void App::Reload() {
  for (const auto& pump : impl_->pumps) pump->ReloadResolver();
  if (absl::Status status = impl_->rpc_server->ReloadCertificates(); !status.ok()) {
    Log(LogLevel::kError, "the certificates cannot be read again: the old ones stay in use",
        {{"error", std::string(status.message())}});
    return;
  }
  Log(LogLevel::kInfo, "reloaded: certificates, resolv.conf and the hosts file");
}

void App::BeginDrain() {
  if (std::exchange(impl_->draining, true)) return;
  impl_->serving = false;
  impl_->gate.StopAdmission();
  if (impl_->rpc_server != nullptr) impl_->rpc_server->SetServing(false);
  for (const auto& pump : impl_->pumps) pump->BeginDrain();
}

bool App::idle() const {
  return std::all_of(impl_->pumps.begin(), impl_->pumps.end(),
                     [](const auto& pump) { return pump->idle(); });
}

void App::Abandon() {
  for (const auto& pump : impl_->pumps) pump->Abandon();
}

std::optional<Failure> App::disk_failure() const {
  MutexLock lock(&impl_->failure_mutex);
  return impl_->disk_failure;
}

void App::Stop() {
  if (std::exchange(impl_->stopped, true)) return;
  BeginDrain();
  // Test requests that are under way would keep their calls until their timeouts.
  if (impl_->tester != nullptr) impl_->tester->Stop();
  Abandon();
  // Both at once: neither makes the stop longer.
  if (impl_->admin_http != nullptr) impl_->admin_http->BeginStop(kRpcShutdownTimeout);
  if (impl_->rpc_server != nullptr) impl_->rpc_server->Shutdown(kRpcShutdownTimeout);
  {
    MutexLock lock(&impl_->page_mutex);
    impl_->page = nullptr;
  }
  impl_->admin_http.reset();
  // The pumps still turn, so that the last outcomes are recorded.
  if (impl_->outbox != nullptr) impl_->outbox->Close();
  for (const auto& pump : impl_->pumps) pump->Join();
  // Its last answers go to the pumps' loops, which drop them.
  impl_->outbox.reset();
  impl_->pumps.clear();
}

}  // namespace postrider
