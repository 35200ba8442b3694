#include "src/http/curl_handle.h"

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "src/http/curl_failure.h"
#include "src/http/own_want.h"
#include "src/http/unasked.h"

namespace postrider {
namespace {

// What is read of a body and thrown away so that the connection can be used again. A body beyond it
// ends the transfer, and the connection with it.
constexpr size_t kMaxDrainBytes = size_t{64} << 10;
// A request of no more is written to an idle connection by one call.
constexpr size_t kWrittenAtOnce = size_t{8} << 10;
// Answers are short; the default of 16 KiB is held by every handle.
constexpr long kBufferBytes = 4096;

// Of an option that this libcurl has, with a value that is valid: it cannot fail but for memory.
void Require(CURLcode code) {
  if (code == CURLE_OK) return;
  std::fprintf(stderr, "libcurl refuses an option: %s\n", curl_easy_strerror(code));
  std::abort();
}

// -1 of what is no socket of IP's.
int LocalPort(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return -1;
  if (address.ss_family == AF_INET) {
    return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  }
  if (address.ss_family != AF_INET6) return -1;
  return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
}

// Only then a client knows what its peer takes signatures of certificates by. Before TLS 1.3 the
// handshake does not end before it is judged.
bool AskedForCertificate(SSL* tls) {
  return SSL_version(tls) >= TLS1_3_VERSION &&
         SSL_get_sigalgs(tls, -1, nullptr, nullptr, nullptr, nullptr, nullptr) > 0;
}

}  // namespace

// ---- CurlHandle: making it ready

CurlHandle::CurlHandle(const AddressPolicy& policy, const std::string& ca_file,
                       absl::Duration connect_timeout, CurlSocketOwner& sockets, void* owner)
    : policy_(policy), sockets_(sockets), owner_(owner), easy_(curl_easy_init()) {
  if (easy_ == nullptr) std::abort();  // out of memory
  SetForGood(ca_file, connect_timeout);
}

CurlHandle::~CurlHandle() {
  CloseGivenSocket();
  curl_easy_cleanup(easy_);
}

template <typename T>
void CurlHandle::Set(CURLoption option, T value) {
  Require(curl_easy_setopt(easy_, option, value));
}

void CurlHandle::SetForGood(const std::string& ca_file, absl::Duration connect_timeout) {
  Set(CURLOPT_PRIVATE, owner_);
  Set(CURLOPT_ERRORBUFFER, error_);
  Set(CURLOPT_NOSIGNAL, 1L);
  Set(CURLOPT_QUICK_EXIT, 1L);
  Set(CURLOPT_PROTOCOLS_STR, "http,https");
  Set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  // So that what is not HTTP comes to OnBody, which refuses it and says what it is.
  Set(CURLOPT_HTTP09_ALLOWED, 1L);
  Set(CURLOPT_FOLLOWLOCATION, 0L);
  // For when libcurl itself sends again, and takes the URL's text.
  Set(CURLOPT_PATH_AS_IS, 1L);
  // The environment's proxies must not apply by accident.
  Set(CURLOPT_PROXY, "");
  // Its entries would be looked through for every request, and the addresses are numbers.
  Set(CURLOPT_DNS_CACHE_TIMEOUT, 0L);
  // Else no_proxy is looked for in the environment at every request.
  Set(CURLOPT_NOPROXY, "*");
  Set(CURLOPT_TCP_NODELAY, 1L);
  Set(CURLOPT_TCP_KEEPALIVE, 1L);
  Set(CURLOPT_BUFFERSIZE, kBufferBytes);
  Set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(absl::ToInt64Milliseconds(connect_timeout)));
  Set(CURLOPT_POST, 1L);
  if (!ca_file.empty()) {
    Set(CURLOPT_CAINFO, ca_file.c_str());
    Set(CURLOPT_CAPATH, static_cast<char*>(nullptr));
  }
  Set(CURLOPT_WRITEFUNCTION, &CurlHandle::OnBody);
  Set(CURLOPT_WRITEDATA, static_cast<void*>(this));
  Set(CURLOPT_HEADERFUNCTION, &CurlHandle::OnHeader);
  Set(CURLOPT_HEADERDATA, static_cast<void*>(this));
  Set(CURLOPT_DEBUGFUNCTION, &CurlHandle::OnDebug);
  Set(CURLOPT_DEBUGDATA, static_cast<void*>(this));
  Set(CURLOPT_OPENSOCKETFUNCTION, &CurlHandle::OnOpenSocket);
  Set(CURLOPT_OPENSOCKETDATA, static_cast<void*>(this));
  Set(CURLOPT_CLOSESOCKETFUNCTION, &CurlHandle::OnCloseSocket);
  Set(CURLOPT_CLOSESOCKETDATA, static_cast<void*>(&sockets_));
  Set(CURLOPT_PREREQFUNCTION, &CurlHandle::OnRequest);
  Set(CURLOPT_PREREQDATA, static_cast<void*>(this));
}

void CurlHandle::Prepare(std::shared_ptr<CurlTarget> target, TransferRequest request) {
  request_ = std::move(request);
  if (target_ != target) {
    // libcurl keeps the pointer: the old URL must live until it has the new one. CURLU counts;
    // beside it the text is kept, which libcurl would go by if it ever followed one request with
    // another.
    Set(CURLOPT_CURLU, target->url.get());
    Set(CURLOPT_URL, target->target->url.c_str());
    target_ = std::move(target);
  }
  BuildHeaders();
  Set(CURLOPT_HTTPHEADER, nodes_.data());
  Set(CURLOPT_POSTFIELDS, request_.body->data());
  Set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body->size()));
}

void CurlHandle::BuildHeaders() {
  bool gives_content_type = target_->gives_content_type;
  bool gives_accept = target_->gives_accept;
  line_count_ = 0;
  // Room for the three that are added below, so that the nodes stay where they are.
  nodes_.reserve(request_.headers.size() + 3);
  nodes_.clear();
  for (const HttpHeader& header : request_.headers) {
    gives_content_type |= absl::EqualsIgnoreCase(header.name, "Content-Type");
    gives_accept |= absl::EqualsIgnoreCase(header.name, "Accept");
    AddHeaderNode(header.name, header.value);
  }
  static char no_expect[] = "Expect:";
  static char no_accept[] = "Accept:";
  static char no_content_type[] = "Content-Type:";
  const auto suppress = [this](char* line) { nodes_.push_back({line, nullptr}); };
  suppress(no_expect);
  if (!gives_accept) suppress(no_accept);
  if (!gives_content_type) suppress(no_content_type);
  for (size_t i = 0; i + 1 < nodes_.size(); ++i) nodes_[i].next = &nodes_[i + 1];
  nodes_.back().next = target_->headers;
  request_bytes_ = target_->bytes + request_.body->size();
  for (size_t i = 0; i < line_count_; ++i) request_bytes_ += lines_[i].size() + 2;
}

void CurlHandle::AddHeaderNode(const std::string& name, const std::string& value) {
  if (line_count_ == lines_.size()) {
    // The strings may move, and short ones with their text.
    lines_.emplace_back();
    for (size_t i = 0; i < line_count_; ++i) nodes_[i].data = lines_[i].data();
  }
  std::string& line = lines_[line_count_++];
  SetHeaderLine(name, value, &line);
  nodes_.push_back({line.data(), nullptr});
}

void CurlHandle::Route(const std::string& connect_to, absl::Duration time_left,
                       bool fresh_connection) {
  if (connect_to_ != connect_to) {
    connect_to_ = connect_to;
    connect_to_node_ = {connect_to_.data(), nullptr};
    Set(CURLOPT_CONNECT_TO, connect_to_.empty() ? nullptr : &connect_to_node_);
  }
  if (time_left_ != time_left) {
    time_left_ = time_left;
    // 0 would mean no limit.
    const int64_t millis = std::max<int64_t>(1, absl::ToInt64Milliseconds(time_left));
    Set(CURLOPT_TIMEOUT_MS, static_cast<long>(millis));
  }
  if (fresh_ != fresh_connection) {
    fresh_ = fresh_connection;
    Set(CURLOPT_FRESH_CONNECT, fresh_ ? 1L : 0L);
  }
  SetVerbose(request_.capture);
  SetForbidReuse(false);
  error_[0] = '\0';
  fd_ = -1;
  opened_.clear();
  unasked_ = false;
  tls_alert_.clear();
  asked_for_certificate_ = false;
  answer_began_ = false;
  result_ = TransferResult();
  head_.Begin(request_.capture);
  body_bytes_ = 0;
  header_bytes_ = 0;
  body_length_ = std::nullopt;
  stopped_ = false;
  headers_too_large_ = false;
  first_bytes_.clear();
  refusal_ = absl::OkStatus();
  open_errno_ = 0;
  address_size_ = 0;
}

void CurlHandle::SetVerbose(bool verbose) {
  if (verbose_ == verbose) return;
  verbose_ = verbose;
  Set(CURLOPT_VERBOSE, verbose ? 1L : 0L);
}

void CurlHandle::SetForbidReuse(bool forbid) {
  if (forbids_reuse_ == forbid) return;
  forbids_reuse_ = forbid;
  Set(CURLOPT_FORBID_REUSE, forbid ? 1L : 0L);
}

void CurlHandle::RouteOver(int socket, const std::string& connect_to, absl::Duration time_left) {
  Route(connect_to, time_left, true);
  CloseGivenSocket();
  given_socket_ = socket;
}

void CurlHandle::CloseGivenSocket() {
  if (given_socket_ >= 0) close(std::exchange(given_socket_, -1));
}

void CurlHandle::Clear() {
  CloseGivenSocket();
  request_ = TransferRequest();
  result_ = TransferResult();
}

// ---- CurlHandle: before the request

curl_socket_t CurlHandle::OnOpenSocket(void* self_pointer, curlsocktype, curl_sockaddr* address) {
  auto* const self = static_cast<CurlHandle*>(self_pointer);
  const absl::StatusOr<IpAddress> ip = IpAddress::FromSockaddr(&address->addr);
  self->refusal_ = ip.ok() ? self->policy_.Judge(*ip) : ip.status();
  if (!self->refusal_.ok()) return CURL_SOCKET_BAD;
  if (self->given_socket_ >= 0) {
    self->sockets_.connections().Remove(self->given_socket_);
    self->opened_.push_back(self->given_socket_);
    return std::exchange(self->given_socket_, -1);
  }
  self->address_size_ = std::min<socklen_t>(address->addrlen, sizeof self->address_);
  std::memcpy(&self->address_, &address->addr, self->address_size_);
  const int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  self->open_errno_ = fd < 0 ? errno : 0;
  if (fd < 0) return CURL_SOCKET_BAD;
  if (!self->sockets_.IsAllowed(fd)) {
    close(fd);
    self->open_errno_ = EMFILE;
    return CURL_SOCKET_BAD;
  }
  self->sockets_.connections().Remove(fd);
  self->sockets_.OnSocketOpened(fd, self->owner_);
  self->opened_.push_back(fd);
  return fd;
}

int CurlHandle::OnCloseSocket(void* sockets_pointer, curl_socket_t fd) {
  auto* const sockets = static_cast<CurlSocketOwner*>(sockets_pointer);
  sockets->connections().Remove(fd);
  sockets->OnSocketClosed(fd);
  return close(fd);
}

int CurlHandle::OnRequest(void* self_pointer, char* remote_ip, char* local_ip, int remote_port,
                          int local_port) {
  auto* const self = static_cast<CurlHandle*>(self_pointer);
  if (self->passed_ip_ != remote_ip) {
    const absl::StatusOr<IpAddress> ip = IpAddress::Parse(remote_ip);
    self->refusal_ = ip.ok() ? self->policy_.Judge(*ip) : ip.status();
    if (!self->refusal_.ok()) return CURL_PREREQFUNC_ABORT;
    self->passed_ip_ = remote_ip;
  }
  return self->MayWrite({remote_ip, remote_port, local_ip, local_port}) ? CURL_PREREQFUNC_OK
                                                                        : CURL_PREREQFUNC_ABORT;
}

bool CurlHandle::MayWrite(const ConnectionTable::Ends& ends) {
  ConnectionTable& connections = sockets_.connections();
  const int opened = TakeOpened(ends.local_port);
  const bool is_new = opened >= 0;
  fd_ = is_new ? opened : connections.Find(ends);
  answer_began_ = false;
  tls_alert_.clear();
  SSL* const tls = Tls();
  asked_for_certificate_ = is_new && tls != nullptr && AskedForCertificate(tls);
  // Each was new once, and is known since then; of one that is not, nothing could be told.
  const Unasked found = fd_ < 0 ? Unasked::kBytes : LookForUnasked(fd_, tls, &tls_alert_);
  if (fd_ >= 0 && request_bytes_ > kWrittenAtOnce) {
    written_before_ = CountAcknowledged(fd_) + CountUnacknowledged(fd_);
  }
  if (!is_new) {
    unasked_ = found != Unasked::kNothing;
    return !unasked_;
  }
  unasked_ = found == Unasked::kBytes;
  // What ends just so says why when it is asked; but OpenSSL says it once.
  if (unasked_ || !tls_alert_.empty()) return false;
  connections.Add(fd_, ends);
  return true;
}

int CurlHandle::TakeOpened(int local_port) {
  int found = -1;
  for (const int fd : opened_) {
    if (LocalPort(fd) == local_port) found = fd;
  }
  opened_.clear();
  return found;
}

SSL* CurlHandle::Tls() const {
  if (!target_->https) return nullptr;
  curl_tlssessioninfo* session = nullptr;
  const CURLcode code = curl_easy_getinfo(easy_, CURLINFO_TLS_SSL_PTR, &session);
  if (code != CURLE_OK || session->backend != CURLSSLBACKEND_OPENSSL ||
      session->internals == nullptr) {
    std::fprintf(stderr, "libcurl's TLS is not OpenSSL's; use libcurl4, which is built with it\n");
    std::abort();
  }
  return static_cast<SSL*>(session->internals);
}

// ---- CurlHandle: the answer comes

bool CurlHandle::IsAnswer() {
  if (answer_began_) return !unasked_;
  answer_began_ = true;
  unasked_ = !HasReachedPeer();
  return !unasked_;
}

bool CurlHandle::HasReachedPeer() const {
  const uint64_t unacknowledged = CountUnacknowledged(fd_);
  if (unacknowledged == 0) return true;
  const uint64_t acknowledged = CountAcknowledged(fd_);
  if (acknowledged == 0) return true;  // the kernel does not count
  if (request_bytes_ > kWrittenAtOnce) return acknowledged > written_before_;
  // All of it was written, so if that is not acknowledged, no byte of it is. What TLS and libcurl's
  // own headers add is less than a segment, which is the least that is acknowledged.
  return unacknowledged < request_bytes_;
}

size_t CurlHandle::OnHeader(char* data, size_t size, size_t count, void* self_pointer) {
  auto* const self = static_cast<CurlHandle*>(self_pointer);
  const size_t bytes = size * count;
  if (!self->IsAnswer()) return CURL_WRITEFUNC_ERROR;
  self->header_bytes_ += bytes;
  if (self->header_bytes_ > kMaxHeaderBytes) {
    self->headers_too_large_ = true;
    return CURL_WRITEFUNC_ERROR;
  }
  absl::string_view line(data, bytes);
  absl::ConsumeSuffix(&line, "\n");
  absl::ConsumeSuffix(&line, "\r");
  if (self->head_.Take(line)) {
    // libcurl says what it finds behind the answer in words alone.
    self->SetVerbose(true);
    self->body_length_ = self->head_.BodyLength();
    self->stopped_ = self->body_length_ == 0;
    if (self->stopped_) return CURL_WRITEFUNC_ERROR;
  }
  return bytes;
}

size_t CurlHandle::OnBody(char* data, size_t size, size_t count, void* self_pointer) {
  auto* const self = static_cast<CurlHandle*>(self_pointer);
  const size_t bytes = size * count;
  if (!self->IsAnswer()) return CURL_WRITEFUNC_ERROR;
  if (self->header_bytes_ == 0) {
    self->first_bytes_.assign(data, std::min(bytes, kTellingBytes));
    return CURL_WRITEFUNC_ERROR;
  }
  const size_t of_body = static_cast<size_t>(
      std::min<uint64_t>(bytes, self->body_length_.value_or(UINT64_MAX) - self->body_bytes_));
  const size_t keep =
      std::min(of_body, self->request_.max_response_bytes - self->result_.body.size());
  self->result_.body.append(data, keep);
  if (keep < of_body) self->result_.body_truncated = true;
  self->body_bytes_ += of_body;
  self->stopped_ =
      self->body_bytes_ == self->body_length_ ||
      self->body_bytes_ > std::max(kMaxDrainBytes, self->request_.max_response_bytes);
  return self->stopped_ ? CURL_WRITEFUNC_ERROR : bytes;
}

int CurlHandle::OnDebug(CURL*, curl_infotype type, char* data, size_t size, void* self_pointer) {
  auto* const self = static_cast<CurlHandle*>(self_pointer);
  const absl::string_view text(data, size);
  if (type == CURLINFO_HEADER_OUT) {
    self->TakeSentHeaders(text);
  } else if (type == CURLINFO_TEXT && (absl::StartsWith(text, "Excess found") ||
                                       absl::StartsWith(text, "Leftovers after chunking"))) {
    // libcurl would use the connection again, but for one kind of excess.
    self->SetForbidReuse(true);
  }
  return 0;
}

void CurlHandle::TakeSentHeaders(absl::string_view text) {
  if (!request_.capture) return;
  std::vector<HttpHeader>& headers = result_.sent_headers;
  // Sent again on a fresh connection: the last is what counts.
  headers.clear();
  for (bool request_line = true; !text.empty(); request_line = false) {
    const size_t end = std::min(text.find("\r\n"), text.size());
    const absl::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 2, text.size()));
    const size_t colon = line.find(':');
    if (request_line || colon == absl::string_view::npos) continue;
    headers.push_back({std::string(line.substr(0, colon)),
                       std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)))});
  }
}

// ---- CurlHandle: what came of it

bool CurlHandle::opened_connection() const {
  long connects = 0;
  curl_easy_getinfo(easy_, CURLINFO_NUM_CONNECTS, &connects);
  return connects > 0;
}

bool CurlHandle::began_request() const {
  // Not the time of connecting: that is 0 on a reused connection, too.
  curl_off_t pretransfer_us = 0;
  curl_easy_getinfo(easy_, CURLINFO_PRETRANSFER_TIME_T, &pretransfer_us);
  return pretransfer_us > 0;
}

bool CurlHandle::WasStale(CURLcode code) const {
  const bool died = header_bytes_ == 0 && (code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR ||
                                           code == CURLE_GOT_NOTHING);
  const bool gave_up = code == CURLE_OK && head_.GivesUpWaiting();
  return (died || gave_up || unasked_) && !opened_connection();
}

bool CurlHandle::FailedToConnect(CURLcode code) const {
  if (!refusal_.ok() || LacksResources(open_errno_)) return false;
  return code == CURLE_COULDNT_CONNECT || (code == CURLE_OPERATION_TIMEDOUT && !began_request());
}

TransferResult CurlHandle::Finish(CURLcode code) {
  long status = 0;
  curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
  const bool answered = code == CURLE_OK || (code == CURLE_WRITE_ERROR && stopped_);
  result_.http_status = static_cast<int>(status);
  result_.retry_after = std::move(head_.retry_after);
  result_.response_headers = std::move(head_.headers);
  if (!answered || status < 200) {
    result_.error = Explain(code, &result_.message);
    if (result_.error != TransferError::kConnectionLost &&
        result_.error != TransferError::kTimeout) {
      result_.http_status = 0;
    }
  }
  // The request may go out once more, to another address.
  return std::exchange(result_, TransferResult());
}

TransferError CurlHandle::Explain(CURLcode code, std::string* sentence) const {
  CurlFailure failure;
  failure.code = tls_alert_.empty() ? code : CURLE_SSL_CONNECT_ERROR;
  failure.detail = error_[0] != '\0' ? error_ : curl_easy_strerror(code);
  if (!tls_alert_.empty()) failure.detail = tls_alert_;
  failure.peer = target_->host_and_port;
  failure.refusal = refusal_;
  failure.open_errno = open_errno_;
  long connect_errno = 0;
  curl_easy_getinfo(easy_, CURLINFO_OS_ERRNO, &connect_errno);
  failure.connect_errno = static_cast<int>(connect_errno);
  failure.address = address_;
  failure.address_size = address_size_;
  failure.plain = !target_->https;
  failure.opened_connection = opened_connection();
  failure.began_request = began_request();
  failure.began_body = body_bytes_ > 0;
  failure.headers_too_large = headers_too_large_;
  failure.asked_for_certificate = asked_for_certificate_ && header_bytes_ == 0;
  failure.unasked = unasked_;
  failure.first_bytes = first_bytes_;
  curl_off_t total_us = 0;
  curl_easy_getinfo(easy_, CURLINFO_TOTAL_TIME_T, &total_us);
  failure.seconds = static_cast<double>(total_us) / 1e6;
  return postrider::Explain(failure, sentence);
}

}  // namespace postrider
