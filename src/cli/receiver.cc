#include "src/cli/receiver.h"

#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "src/base/mutex.h"
#include "src/cli/output.h"
#include "src/http/server/http_server.h"
#include "src/message/signing.h"

namespace postrider {
namespace {

constexpr size_t kMaxBodyBytes = size_t{16} << 20;
// Of one address: Postrider's, which opens up to two for each request that a webhook may have under
// way.
constexpr size_t kMaxConnections = 4096;
constexpr size_t kMaxHeldBytes = size_t{256} << 20;
constexpr size_t kMaxHeaders = 1000;
constexpr size_t kMaxHeaderBytes = size_t{256} << 10;
// A stop waits for the answers that are under way.
constexpr absl::Duration kStopTimeout = absl::Seconds(1);

}  // namespace

struct Receiver::Impl {
  void Take(HttpRequest http, HttpReply reply);
  // Fills in what came of the check.
  void Check(Request* request) const;
  // The keys of the secrets, as far as they are known now. Returns what is wrong with them.
  std::optional<std::string> Keys(std::vector<std::string>* keys) const;

  Options options;
  // Owned by the server's thread.
  int64_t count = 0;
  std::unique_ptr<HttpServer> server;
};

std::optional<std::string> Receiver::Impl::Keys(std::vector<std::string>* keys) const {
  std::vector<std::string> secrets = options.secrets;
  std::string content;
  if (!options.secret_file.empty() && !ReadInput(options.secret_file, &content).has_value()) {
    for (absl::string_view line :
         absl::StrSplit(content, absl::ByAnyChar("\r\n"), absl::SkipWhitespace())) {
      secrets.emplace_back(absl::StripAsciiWhitespace(line));
    }
  }
  for (const std::string& secret : secrets) {
    absl::StatusOr<std::string> key = ParseSecret(secret);
    if (!key.ok()) return std::string(key.status().message());
    keys->push_back(*std::move(key));
  }
  return std::nullopt;
}

void Receiver::Impl::Check(Request* request) const {
  std::vector<std::string> keys;
  if (std::optional<std::string> error = Keys(&keys)) {
    request->signature = Signature::kInvalid;
    request->signature_error = absl::StrCat(options.secret_file, ": ", *error);
    return;
  }
  if (keys.empty()) {
    request->signature_error = "no secret is known";
    return;
  }
  SignatureHeaders headers;
  for (const auto& [name, value] : request->headers) {
    if (absl::EqualsIgnoreCase(name, "webhook-id")) headers.id = value;
    if (absl::EqualsIgnoreCase(name, "webhook-timestamp")) headers.timestamp = value;
    if (absl::EqualsIgnoreCase(name, "webhook-signature")) headers.signature = value;
  }
  request->signature = Signature::kInvalid;
  for (const std::string& key : keys) {
    const absl::Status verdict = VerifySignature(key, headers, request->body, request->time);
    if (verdict.ok()) {
      request->signature = Signature::kValid;
      request->signature_error.clear();
      return;
    }
    request->signature_error = std::string(verdict.message());
  }
}

void Receiver::Impl::Take(HttpRequest http, HttpReply reply) {
  Request request;
  request.time = absl::Now();
  request.method = std::move(http.method);
  request.target = std::move(http.target);
  request.headers = std::move(http.headers);
  request.body = std::move(http.body);
  Check(&request);

  request.number = ++count;
  request.status = request.number <= options.fail_first ? 500 : options.status;
  options.on_request(request);
  HttpResponse answer;
  answer.status = request.status;
  reply.SendAfter(options.delay, std::move(answer));
}

Receiver::Receiver(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

std::variant<std::unique_ptr<Receiver>, std::string> Receiver::Start(Options options) {
  auto impl = std::make_unique<Impl>();
  impl->options = std::move(options);
  const HostAndPort& address = impl->options.address;
  HttpServerOptions server;
  server.host = address.host;
  server.port = address.port;
  server.limits.max_connections = kMaxConnections;
  server.limits.max_peer_connections = kMaxConnections;
  server.limits.max_held_bytes = kMaxHeldBytes;
  server.limits.max_headers = kMaxHeaders;
  server.limits.max_header_bytes = kMaxHeaderBytes;
  HttpRoute all;
  all.prefix = true;
  all.max_body_bytes = kMaxBodyBytes;
  all.handle = [raw = impl.get()](HttpRequest request, HttpReply reply) {
    raw->Take(std::move(request), std::move(reply));
  };
  server.routes.push_back(std::move(all));
  absl::StatusOr<std::unique_ptr<HttpServer>> listening = HttpServer::Listen(std::move(server));
  if (!listening.ok()) {
    return absl::StrCat("--listen ", address.host, ":", address.port, " cannot be listened on (",
                        listening.status().message(), "): choose another, or stop who holds it");
  }
  impl->server = *std::move(listening);
  impl->server->Start();
  return std::unique_ptr<Receiver>(new Receiver(std::move(impl)));
}

Receiver::~Receiver() { impl_->server->BeginStop(kStopTimeout); }

int Receiver::port() const { return impl_->server->port(); }

}  // namespace postrider
