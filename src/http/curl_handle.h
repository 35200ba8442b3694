#pragma once

#include <curl/curl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "src/http/address_policy.h"
#include "src/http/target_addresses.h"
#include "src/http/transport.h"

namespace postrider {

struct CurlUrlDeleter {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};

// What libcurl needs to know of a target, made once for it.
struct CurlTarget {
  explicit CurlTarget(std::shared_ptr<const HttpTarget> target);

  // Holds the strings that the nodes point to.
  const std::shared_ptr<const HttpTarget> target;
  // Its URL, taken apart once; libcurl would do it for every request.
  std::unique_ptr<CURLU, CurlUrlDeleter> url;
  // Without brackets. Empty when the URL has none.
  std::string host;
  std::string host_and_port;
  size_t host_hash = 0;
  bool https = false;
  // The static headers as a list; the last node ends it. Null without any.
  curl_slist* headers = nullptr;
  // Which of libcurl's own headers must be suppressed because nobody asked for them.
  bool gives_content_type = false;
  bool gives_accept = false;

  uint16_t port = 0;
  // Where requests may go; null before it is known.
  std::shared_ptr<const AddressList> addresses;
  // Which of them answered last.
  IpAddress preferred;
  // Until when `addresses` hold (Clock::Monotonic).
  absl::Duration addresses_until = -absl::InfiniteDuration();

 private:
  std::vector<std::string> lines_;
  std::vector<curl_slist> nodes_;
};

// Hears of libcurl's sockets. It must not rely on OnSocketClosed for every one: libcurl 7.88.1
// closes a socket that was never connected without its callback (lib/cf-socket.c, cf_socket_close).
// So what is known of a number is void when OnSocketOpened comes for it.
class CurlSocketOwner {
 public:
  virtual ~CurlSocketOwner() = default;
  // `owner`: of the transfer that it is for.
  virtual void OnSocketOpened(int fd, void* owner) = 0;
  // Before it is closed.
  virtual void OnSocketClosed(int fd) = 0;
};

// One easy handle with all that a transfer needs beside it; used again and again, so that a request
// to the same target sets nothing but what is new.
//
// Owned by one thread. Not movable: libcurl knows its address.
class CurlHandle {
 public:
  // Policy and sockets' owner must outlive it, and its connections. `owner` is what
  // CURLINFO_PRIVATE gives back.
  CurlHandle(const AddressPolicy& policy, const std::string& ca_file,
             absl::Duration connect_timeout, CurlSocketOwner& sockets, void* owner);
  ~CurlHandle();
  CurlHandle(const CurlHandle&) = delete;
  CurlHandle& operator=(const CurlHandle&) = delete;

  CURL* easy() const { return easy_; }
  CurlTarget* target() const { return target_.get(); }
  const std::shared_ptr<CurlTarget>& shared_target() const { return target_; }

  // Takes the request; the answer of the one before is forgotten.
  void Prepare(std::shared_ptr<CurlTarget> target, TransferRequest request);
  // How the request goes out: pinned to one of the target's addresses, in what time is left.
  void Route(const std::string& connect_to, absl::Duration time_left, bool fresh_connection);
  // The same, over a socket that is connected to the address, and the handle's from now on.
  void RouteOver(int socket, const std::string& connect_to, absl::Duration time_left);
  // What came of it. REQUIRES: libcurl has ended the transfer with `code`.
  TransferResult Finish(CURLcode code);
  // Lets go of request and body.
  void Clear();

  // libcurl says that a reused connection was dead before anything came back.
  bool WasStale(CURLcode code) const;
  // No connection came about, so another address may be tried.
  bool FailedToConnect(CURLcode code) const;
  bool opened_connection() const;
  // A connection was there, TLS included, so that the request may have gone out.
  bool began_request() const;

 private:
  static size_t OnBody(char* data, size_t size, size_t count, void* self);
  static size_t OnHeader(char* data, size_t size, size_t count, void* self);
  static int OnDebug(CURL* easy, curl_infotype type, char* data, size_t size, void* self);
  static curl_socket_t OnOpenSocket(void* self, curlsocktype purpose, curl_sockaddr* address);
  static int OnCloseSocket(void* sockets, curl_socket_t fd);
  static int OnRequest(void* self, char* remote_ip, char* local_ip, int remote_port,
                       int local_port);

  template <typename T>
  void Set(CURLoption option, T value);
  void SetForGood(const std::string& ca_file, absl::Duration connect_timeout);
  void CloseGivenSocket();
  void BuildHeaders();
  void AddHeaderNode(const std::string& name, const std::string& value);
  void TakeHeaderLine(absl::string_view line);
  std::string Explain(CURLcode code, TransferError* error) const;
  std::string ExplainTimeout() const;

  const AddressPolicy& policy_;
  CurlSocketOwner& sockets_;
  void* const owner_;
  CURL* const easy_;
  char error_[CURL_ERROR_SIZE] = "";

  std::shared_ptr<CurlTarget> target_;
  TransferRequest request_;
  // The request's own headers, in buffers that are used again.
  std::vector<std::string> lines_;
  std::vector<curl_slist> nodes_;
  size_t line_count_ = 0;
  std::string connect_to_;
  curl_slist connect_to_node_{};
  bool fresh_ = false;
  bool capturing_ = false;
  // As set last; never zero, which libcurl would take for no limit.
  absl::Duration time_left_ = -absl::InfiniteDuration();

  // The answer as far as it has come.
  TransferResult result_;
  size_t body_bytes_ = 0;
  size_t header_bytes_ = 0;
  bool body_stopped_ = false;
  bool headers_too_large_ = false;
  // Why the policy refused; OK when it did not.
  absl::Status refusal_;
  // Why no socket could be opened; 0 when one could.
  int open_errno_ = 0;
  // A socket that libcurl shall have instead of opening one; -1: none.
  int given_socket_ = -1;
  // The last address that passed, so that a reused connection costs one comparison.
  std::string passed_ip_;
};

}  // namespace postrider
