#include "src/server/web/admin_http.h"

#include <cstddef>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "src/server/observe/logging.h"
#include "src/server/observe/metrics_page.h"

namespace postrider {
namespace {

// Scrapes that wait for the next rendering; each gets a copy of the page.
constexpr size_t kMaxScrapes = 32;

void LogAcceptTrouble(const std::string& why) {
  if (why.empty()) {
    Log(LogLevel::kInfo, "HTTP connections are accepted again");
  } else {
    Log(LogLevel::kWarn, "HTTP connections cannot be accepted", {{"error", why}});
  }
}

HttpRoute Page(const std::string& path, std::function<void(HttpRequest, HttpReply)> handle) {
  HttpRoute route;
  route.path = path;
  route.methods = {"GET"};
  route.handle = std::move(handle);
  return route;
}

}  // namespace

class AdminHttp::Impl {
 public:
  explicit Impl(Pages pages) : pages_(std::move(pages)) {}

  absl::Status Start(const HostPort& address, const HttpServerLimits& limits) {
    HttpServerOptions options;
    options.host = address.host;
    options.port = address.port;
    options.limits = limits;
    options.on_accept_trouble = LogAcceptTrouble;
    options.routes = Routes();
    absl::StatusOr<std::unique_ptr<HttpServer>> listening = HttpServer::Listen(std::move(options));
    if (!listening.ok()) {
      return absl::UnavailableError(absl::StrCat("--http-listen ", address.ToString(),
                                                 " cannot be listened on (",
                                                 listening.status().message(),
                                                 "): choose another, or stop who holds it"));
    }
    server_ = *std::move(listening);
    address_ = {address.host, server_->port()};
    server_->Start();
    return absl::OkStatus();
  }

  HttpServer& server() { return *server_; }
  const HostPort& address() const { return address_; }

 private:
  std::vector<HttpRoute> Routes() {
    HttpRoute health = Page("/healthz", [](const HttpRequest&, HttpReply reply) {
      reply.Send(TextResponse(200, "ok"));
    });
    HttpRoute ready = Page("/readyz", [this](const HttpRequest&, HttpReply reply) {
      const bool yes = pages_.ready();
      reply.Send(TextResponse(yes ? 200 : 503, yes ? "ready" : "not ready"));
    });
    health.in_reserve = true;
    ready.in_reserve = true;
    HttpRoute metrics = Page("/metrics", [this](const HttpRequest&, HttpReply reply) {
      AddScrape(std::move(reply));
    });
    return {std::move(health), std::move(ready), std::move(metrics)};
  }

  // However many ask at once, the page is rendered once, and health is answered in between.
  void AddScrape(HttpReply reply) {
    if (scrapes_.size() >= kMaxScrapes) {
      HttpResponse response = TextResponse(503, "too many ask for this at once");
      response.headers.emplace_back("Retry-After", "1");
      return reply.Send(std::move(response));
    }
    scrapes_.push_back(std::move(reply));
    if (scrapes_.size() == 1) server_->Post([this] { AnswerScrapes(); });
  }

  void AnswerScrapes() {
    HttpResponse page;
    page.content_type = MetricsPage::kContentType;
    page.body = pages_.metrics();
    for (HttpReply& scrape : scrapes_) scrape.Send(page);
    scrapes_.clear();
  }

  const Pages pages_;
  HostPort address_;
  // Owned by the server's thread.
  std::vector<HttpReply> scrapes_;
  std::unique_ptr<HttpServer> server_;
};

absl::StatusOr<std::unique_ptr<AdminHttp>> AdminHttp::Start(const HostPort& address,
                                                            const HttpServerLimits& limits,
                                                            Pages pages) {
  auto impl = std::make_unique<Impl>(std::move(pages));
  if (absl::Status status = impl->Start(address, limits); !status.ok()) return status;
  return std::unique_ptr<AdminHttp>(new AdminHttp(std::move(impl)));
}

AdminHttp::AdminHttp(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
AdminHttp::~AdminHttp() = default;

void AdminHttp::BeginStop(absl::Duration timeout) { impl_->server().BeginStop(timeout); }
HostPort AdminHttp::address() const { return impl_->address(); }
const HttpServerMetrics& AdminHttp::metrics() const { return impl_->server().metrics(); }

}  // namespace postrider
