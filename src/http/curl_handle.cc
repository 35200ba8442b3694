#include "src/http/curl_handle.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace postrider {
namespace {

// What is read of a body and thrown away so that the connection can be used again. A body beyond it
// ends the transfer, and the connection with it.
constexpr size_t kMaxDrainBytes = size_t{64} << 10;
constexpr size_t kMaxHeaderBytes = size_t{256} << 10;
// Answers are short; the default of 16 KiB is held by every handle.
constexpr long kBufferBytes = 4096;

// Of an option that this libcurl has, with a value that is valid: it cannot fail but for memory.
void Require(CURLcode code) {
  if (code == CURLE_OK) return;
  std::fprintf(stderr, "libcurl refuses an option: %s\n", curl_easy_strerror(code));
  std::abort();
}

void SetHeaderLine(const std::string& name, const std::string& value, std::string* line) {
  line->assign(name);
  // libcurl takes "Name:" with nothing but blanks for "do not send it", and "Name;" for "send it
  // empty".
  if (absl::StripAsciiWhitespace(value).empty()) {
    *line += ';';
  } else {
    *line += ": ";
    *line += value;
  }
}

bool OutOfResources(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

std::string UrlPart(CURLU* url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, CURLU_DEFAULT_PORT) != CURLUE_OK) return "";
  std::string result(text);
  curl_free(text);
  return result;
}

}  // namespace

// ---- CurlTarget

CurlTarget::CurlTarget(std::shared_ptr<const HttpTarget> http_target)
    : target(std::move(http_target)), url(curl_url()) {
  if (url == nullptr) std::abort();  // out of memory
  if (curl_url_set(url.get(), CURLUPART_URL, target->url.c_str(), 0) == CURLUE_OK) {
    const std::string bracketed = UrlPart(url.get(), CURLUPART_HOST);
    host_and_port = absl::StrCat(bracketed, ":", UrlPart(url.get(), CURLUPART_PORT));
    host = std::string(absl::StripSuffix(absl::StripPrefix(bracketed, "["), "]"));
    port = static_cast<uint16_t>(std::atoi(UrlPart(url.get(), CURLUPART_PORT).c_str()));
    host_hash = absl::HashOf(host_and_port);
    https = UrlPart(url.get(), CURLUPART_SCHEME) == "https";
  }
  lines_.reserve(target->headers.size());
  nodes_.reserve(target->headers.size());
  for (const HttpHeader& header : target->headers) {
    gives_content_type |= absl::EqualsIgnoreCase(header.name, "Content-Type");
    gives_accept |= absl::EqualsIgnoreCase(header.name, "Accept");
    SetHeaderLine(header.name, header.value, &lines_.emplace_back());
    nodes_.push_back({lines_.back().data(), nullptr});
    if (nodes_.size() > 1) nodes_[nodes_.size() - 2].next = &nodes_.back();
  }
  if (!nodes_.empty()) headers = nodes_.data();
}

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
  Set(CURLOPT_HTTP09_ALLOWED, 0L);
  Set(CURLOPT_FOLLOWLOCATION, 0L);
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
  if (capturing_ != request_.capture) {
    capturing_ = request_.capture;
    Set(CURLOPT_VERBOSE, capturing_ ? 1L : 0L);
  }
  result_ = TransferResult();
  body_bytes_ = 0;
  header_bytes_ = 0;
  body_stopped_ = false;
  headers_too_large_ = false;
  refusal_ = absl::OkStatus();
  open_errno_ = 0;
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
  error_[0] = '\0';
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

// ---- CurlHandle: libcurl calls back

size_t CurlHandle::OnBody(char* data, size_t size, size_t count, void* self_pointer) {
  auto* const self = static_cast<CurlHandle*>(self_pointer);
  const size_t bytes = size * count;
  const size_t keep =
      std::min(bytes, self->request_.max_response_bytes - self->result_.body.size());
  self->result_.body.append(data, keep);
  if (keep < bytes) self->result_.body_truncated = true;
  self->body_bytes_ += bytes;
  if (self->body_bytes_ <= std::max(kMaxDrainBytes, self->request_.max_response_bytes)) {
    return bytes;
  }
  self->body_stopped_ = true;
  return CURL_WRITEFUNC_ERROR;
}

size_t CurlHandle::OnHeader(char* data, size_t size, size_t count, void* self_pointer) {
  auto* const self = static_cast<CurlHandle*>(self_pointer);
  const size_t bytes = size * count;
  self->header_bytes_ += bytes;
  if (self->header_bytes_ > kMaxHeaderBytes) {
    self->headers_too_large_ = true;
    return CURL_WRITEFUNC_ERROR;
  }
  self->TakeHeaderLine(absl::StripTrailingAsciiWhitespace(absl::string_view(data, bytes)));
  return bytes;
}

void CurlHandle::TakeHeaderLine(absl::string_view line) {
  constexpr absl::string_view kRetryAfter = "retry-after:";
  if (absl::StartsWith(line, "HTTP/")) {
    // A new answer: what came before was informational.
    result_.response_headers.clear();
    result_.retry_after.clear();
    return;
  }
  const bool is_retry_after = absl::StartsWithIgnoreCase(line, kRetryAfter);
  if (!is_retry_after && !capturing_) return;
  const size_t colon = line.find(':');
  if (colon == absl::string_view::npos) return;
  const absl::string_view value = absl::StripAsciiWhitespace(line.substr(colon + 1));
  if (is_retry_after) result_.retry_after = std::string(value);
  if (capturing_) {
    result_.response_headers.push_back({std::string(line.substr(0, colon)), std::string(value)});
  }
}

int CurlHandle::OnDebug(CURL*, curl_infotype type, char* data, size_t size, void* self_pointer) {
  if (type != CURLINFO_HEADER_OUT) return 0;
  auto* const self = static_cast<CurlHandle*>(self_pointer);
  std::vector<HttpHeader>& headers = self->result_.sent_headers;
  // Sent again on a fresh connection: the last is what counts.
  headers.clear();
  absl::string_view text(data, size);
  for (bool request_line = true; !text.empty(); request_line = false) {
    const size_t end = std::min(text.find("\r\n"), text.size());
    const absl::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 2, text.size()));
    const size_t colon = line.find(':');
    if (request_line || colon == absl::string_view::npos) continue;
    headers.push_back({std::string(line.substr(0, colon)),
                       std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)))});
  }
  return 0;
}

curl_socket_t CurlHandle::OnOpenSocket(void* self_pointer, curlsocktype, curl_sockaddr* address) {
  auto* const self = static_cast<CurlHandle*>(self_pointer);
  const absl::StatusOr<IpAddress> ip = IpAddress::FromSockaddr(&address->addr);
  self->refusal_ = ip.ok() ? self->policy_.Judge(*ip) : ip.status();
  if (!self->refusal_.ok()) return CURL_SOCKET_BAD;
  if (self->given_socket_ >= 0) return std::exchange(self->given_socket_, -1);
  const int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  self->open_errno_ = fd < 0 ? errno : 0;
  if (fd < 0) return CURL_SOCKET_BAD;
  self->sockets_.OnSocketOpened(fd, self->owner_);
  return fd;
}

int CurlHandle::OnCloseSocket(void* sockets, curl_socket_t fd) {
  static_cast<CurlSocketOwner*>(sockets)->OnSocketClosed(fd);
  return close(fd);
}

int CurlHandle::OnRequest(void* self_pointer, char* remote_ip, char*, int, int) {
  auto* const self = static_cast<CurlHandle*>(self_pointer);
  if (self->passed_ip_ == remote_ip) return CURL_PREREQFUNC_OK;
  const absl::StatusOr<IpAddress> ip = IpAddress::Parse(remote_ip);
  self->refusal_ = ip.ok() ? self->policy_.Judge(*ip) : ip.status();
  if (!self->refusal_.ok()) return CURL_PREREQFUNC_ABORT;
  self->passed_ip_ = remote_ip;
  return CURL_PREREQFUNC_OK;
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
  return (code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR || code == CURLE_GOT_NOTHING) &&
         header_bytes_ == 0 && !opened_connection();
}

bool CurlHandle::FailedToConnect(CURLcode code) const {
  if (!refusal_.ok() || OutOfResources(open_errno_)) return false;
  return code == CURLE_COULDNT_CONNECT || (code == CURLE_OPERATION_TIMEDOUT && !began_request());
}

TransferResult CurlHandle::Finish(CURLcode code) {
  long status = 0;
  curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
  const bool answered = code == CURLE_OK || (code == CURLE_WRITE_ERROR && body_stopped_);
  result_.http_status = static_cast<int>(status);
  if (!answered || status < 200) {
    result_.message = Explain(code, &result_.error);
    if (result_.error != TransferError::kConnectionLost &&
        result_.error != TransferError::kTimeout) {
      result_.http_status = 0;
    }
  }
  // The request may go out once more, to another address.
  return std::exchange(result_, TransferResult());
}

std::string CurlHandle::Explain(CURLcode code, TransferError* error) const {
  const std::string& peer = target_->host_and_port;
  const std::string detail = error_[0] != '\0' ? error_ : curl_easy_strerror(code);
  if (!refusal_.ok()) {
    *error = TransferError::kBlockedAddress;
    return std::string(refusal_.message());
  }
  if (code == CURLE_COULDNT_CONNECT && OutOfResources(open_errno_)) {
    *error = TransferError::kNoResources;
    return absl::StrCat("no connection to ", peer, ": this server cannot open a socket (",
                        std::strerror(open_errno_),
                        "); raise its limit of open files (ulimit -n, LimitNOFILE)");
  }
  switch (code) {
    case CURLE_COULDNT_CONNECT:
      *error = TransferError::kConnect;
      return absl::StrCat("no connection to ", peer, ": ", detail,
                          "; start the receiver, or correct the host and port of the URL");
    case CURLE_OPERATION_TIMEDOUT:
      *error = TransferError::kTimeout;
      return ExplainTimeout();
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
      *error = TransferError::kTls;
      return absl::StrCat("no secure connection to ", peer, ": ", detail,
                          "; give the receiver a certificate for that host from an authority "
                          "that this machine trusts");
    case CURLE_SSL_CACERT_BADFILE:
      *error = TransferError::kTls;
      return absl::StrCat("no secure connection to ", peer, ": ", detail,
                          "; give the server a readable PEM file of certificate authorities");
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
      *error = TransferError::kConnectionLost;
      return absl::StrCat(peer, " broke the connection off before its answer was whole: ", detail,
                          "; see the receiver's log");
    default:
      // An answer that libcurl cannot read has many codes.
      *error = TransferError::kBadAnswer;
      if (headers_too_large_) {
        return absl::StrCat("the answer of ", peer, " has more than ", kMaxHeaderBytes >> 10,
                            " KiB of headers; let the receiver answer with less");
      }
      return absl::StrCat("what ", peer, " answered is not HTTP/1.1: ", detail,
                          "; check that the URL names a web server, and http or https as it "
                          "speaks");
  }
}

std::string CurlHandle::ExplainTimeout() const {
  curl_off_t total_us = 0;
  curl_easy_getinfo(easy_, CURLINFO_TOTAL_TIME_T, &total_us);
  const double seconds = static_cast<double>(total_us) / 1e6;
  if (began_request()) {
    return absl::StrFormat(
        "%s was connected, but its answer was not whole after %.1f s; let the receiver answer "
        "before it works, or raise the webhook's timeout",
        target_->host_and_port, seconds);
  }
  if (opened_connection()) {
    return absl::StrFormat(
        "%s was connected, but the TLS handshake was not over after %.1f s; check that the port of "
        "the URL is one that speaks https",
        target_->host_and_port, seconds);
  }
  return absl::StrFormat(
      "no connection to %s within %.1f s; check the host and port of the URL, and the firewalls "
      "on the way",
      target_->host_and_port, seconds);
}

}  // namespace postrider
