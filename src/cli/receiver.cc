#include "src/cli/receiver.h"

#include <httplib.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "src/base/mutex.h"
#include "src/cli/output.h"
#include "src/delivery/signing.h"

namespace postrider {
namespace {

// A connection that is kept alive holds a thread. Postrider opens up to two for each request that a
// webhook may have under way; beyond this many they take turns, a second each.
constexpr size_t kThreads = 256;
// Connections that wait to be accepted. httplib asks for 5, and beyond that the kernel drops what
// the client takes for a connection.
constexpr int kBacklog = 4096;
constexpr size_t kMaxBodyBytes = 16 << 20;

// What httplib adds to the headers by itself.
bool IsPseudoHeader(const std::string& name) {
  return name == "REMOTE_ADDR" || name == "REMOTE_PORT" || name == "LOCAL_ADDR" ||
         name == "LOCAL_PORT";
}

}  // namespace

struct Receiver::Impl {
  void Take(const httplib::Request& http, httplib::Response& answer);
  // Fills in what came of the check.
  void Check(Request* request) const;
  // The keys of the secrets, as far as they are known now. Returns what is wrong with them.
  std::optional<std::string> Keys(std::vector<std::string>* keys) const;

  Options options;
  httplib::Server server;
  std::thread thread;
  int port = 0;
  // The one that listens; httplib's own.
  int listener = -1;

  Mutex mutex;
  CondVar stopping;
  bool stopped ABSL_GUARDED_BY(mutex) = false;
  int64_t count ABSL_GUARDED_BY(mutex) = 0;
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

void Receiver::Impl::Take(const httplib::Request& http, httplib::Response& answer) {
  Request request;
  request.time = absl::Now();
  request.method = http.method;
  request.target = http.target;
  for (const auto& [name, value] : http.headers) {
    if (!IsPseudoHeader(name)) request.headers.emplace_back(name, value);
  }
  request.body = http.body;
  Check(&request);

  MutexLock lock(&mutex);
  request.number = ++count;
  request.status = request.number <= options.fail_first ? 500 : options.status;
  options.on_request(request);
  answer.status = request.status;
  const absl::Time answer_time = absl::Now() + options.delay;
  while (!stopped && absl::Now() < answer_time) {
    stopping.WaitFor(&mutex, answer_time - absl::Now());
  }
}

Receiver::Receiver(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

std::variant<std::unique_ptr<Receiver>, std::string> Receiver::Start(Options options) {
  auto impl = std::make_unique<Impl>();
  impl->options = std::move(options);
  httplib::Server& server = impl->server;
  server.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
  server.set_keep_alive_max_count(1 << 20);
  // A stop waits for connections that are kept alive.
  server.set_keep_alive_timeout(1);
  server.set_payload_max_length(kMaxBodyBytes);
  server.set_tcp_nodelay(true);
  // Without SO_REUSEPORT, which httplib sets by default: two receivers would share the port.
  server.set_socket_options([raw = impl.get()](int socket) {
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    raw->listener = socket;
  });
  const auto take = [raw = impl.get()](const httplib::Request& request, httplib::Response& answer) {
    raw->Take(request, answer);
  };
  server.Get(".*", take);
  server.Post(".*", take);
  server.Put(".*", take);
  server.Patch(".*", take);
  server.Delete(".*", take);
  server.Options(".*", take);

  const HostAndPort& address = impl->options.address;
  errno = 0;
  if (address.port == 0) {
    impl->port = server.bind_to_any_port(address.host);
  } else if (server.bind_to_port(address.host, address.port)) {
    impl->port = address.port;
  }
  // The last one that httplib has made is the one that it could bind.
  if (impl->port <= 0 || listen(impl->listener, kBacklog) != 0) {
    const std::string why = errno != 0 ? absl::StrCat(" (", std::strerror(errno), ")") : "";
    return absl::StrCat("--listen ", address.host, ":", address.port, " cannot be listened on", why,
                        ": choose another, or stop who holds it");
  }
  impl->thread = std::thread([raw = impl.get()] { raw->server.listen_after_bind(); });
  // A stop before this would be lost.
  while (!server.is_running()) std::this_thread::yield();
  return std::unique_ptr<Receiver>(new Receiver(std::move(impl)));
}

Receiver::~Receiver() {
  {
    MutexLock lock(&impl_->mutex);
    impl_->stopped = true;
    impl_->stopping.SignalAll();
  }
  impl_->server.stop();
  impl_->thread.join();
}

int Receiver::port() const { return impl_->port; }

}  // namespace postrider
