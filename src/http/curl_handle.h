#pragma once

#include <curl/curl.h>
#include <openssl/types.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "src/http/address_policy.h"
#include "src/http/answer_head.h"
#include "src/http/connection_table.h"
#include "src/http/curl_target.h"
#include "src/http/transport.h"

namespace postrider {

// Hears of libcurl's sockets. It must not rely on OnSocketClosed for every one: libcurl 7.88.1
// closes a socket that was never connected without its callback (lib/cf-socket.c, cf_socket_close).
// So what is known of a number is void when OnSocketOpened comes for it.
class CurlSocketOwner {
 public:
  virtual ~CurlSocketOwner() = default;
  // False when a socket of this number would take what is meant for others.
  virtual bool IsAllowed(int fd) = 0;
  // `owner`: of the transfer that it is for.
  virtual void OnSocketOpened(int fd, void* owner) = 0;
  // Before it is closed.
  virtual void OnSocketClosed(int fd) = 0;

  // Those that requests have gone over.
  ConnectionTable& connections() { return connections_; }

 private:
  ConnectionTable connections_;
};

// One easy handle with all that a transfer needs beside it; used again and again, so that a request
// to the same target sets nothing but what is new.
//
// No byte counts as an answer that its sender wrote before it had the request. Before a request is
// written, whatever lies ready on the connection ends the transfer, and the connection with it. The
// first line of an answer counts only when the peer has acknowledged some of the request by then:
// TCP does that with every segment that it sends. And what comes behind an answer ends the
// connection, whether libcurl has read it together with the answer or not.
//
// Owned by one thread. Not movable: libcurl knows its address.
class CurlHandle {
 public:
  // Policy and sockets' owner must outlive it, and its connections. All handles that share
  // connections have the same one. `owner` is what CURLINFO_PRIVATE gives back.
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

  // The connection had been used before, and no answer to this request came over it: it was dead,
  // or something came that nobody had asked for, such as the 408 of a server that has waited long
  // enough. So the request may be sent once more, and no attempt was made.
  bool WasStale(CURLcode code) const;
  // That was because something came that nobody had asked for.
  bool got_unasked() const { return unasked_; }
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
  void SetVerbose(bool verbose);
  void SetForbidReuse(bool forbid);
  void BuildHeaders();
  void AddHeaderNode(const std::string& name, const std::string& value);
  // Whether the request may go out over this connection.
  bool MayWrite(const ConnectionTable::Ends& ends);
  // Whether what comes now can be the answer. Asked for all of it, it looks once.
  bool IsAnswer();
  bool HasReachedPeer() const;
  // The one of `opened_` that has this local port; -1 when none has.
  int TakeOpened(int local_port);
  SSL* Tls() const;
  void TakeSentHeaders(absl::string_view text);
  TransferError Explain(CURLcode code, std::string* sentence) const;

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
  bool verbose_ = false;
  bool forbids_reuse_ = false;
  // As set last; never zero, which libcurl would take for no limit.
  absl::Duration time_left_ = -absl::InfiniteDuration();

  // The connection that the request goes over; -1 as long as libcurl has not named it.
  int fd_ = -1;
  // Opened for this transfer, and not named by libcurl yet.
  std::vector<int> opened_;
  bool unasked_ = false;
  // At least so many bytes it has; and how many had been written to the connection before it, which
  // is known of large ones alone.
  size_t request_bytes_ = 0;
  uint64_t written_before_ = 0;
  // The alert by which the peer ended TLS before the request was written.
  std::string tls_alert_;
  // The connection is new, and the peer has asked for a client certificate.
  bool asked_for_certificate_ = false;

  // The answer as far as it has come.
  bool answer_began_ = false;
  TransferResult result_;
  AnswerHead head_;
  size_t body_bytes_ = 0;
  size_t header_bytes_ = 0;
  // Where the body ends, when libcurl does not see it.
  std::optional<uint64_t> body_length_;
  // All of the answer that is wanted has come, though libcurl would go on.
  bool stopped_ = false;
  bool headers_too_large_ = false;
  // The beginning of what came instead of HTTP.
  std::string first_bytes_;
  // Why the policy refused; OK when it did not.
  absl::Status refusal_;
  // Why no socket could be opened; 0 when one could. And where to the last one went.
  int open_errno_ = 0;
  sockaddr_storage address_{};
  socklen_t address_size_ = 0;
  // A socket that libcurl shall have instead of opening one; -1: none.
  int given_socket_ = -1;
  // The last address that passed, so that a reused connection costs one comparison.
  std::string passed_ip_;
};

}  // namespace postrider
