#include "src/http/curl_failure.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "src/http/own_want.h"

namespace postrider {
namespace {

// CURLE_TOO_LARGE, of libcurl 8.6; before that it was CURLE_OUT_OF_MEMORY, as is lack of memory.
constexpr int kTooLarge = 100;

// By taking as many as a connection takes for a moment: its socket, which has just been closed, and
// a file of authorities.
bool LacksDescriptors() {
  std::array<int, 2> taken{};
  for (int& fd : taken) fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  const bool lacking = taken.back() < 0 && (errno == EMFILE || errno == ENFILE);
  for (const int fd : taken) {
    if (fd >= 0) close(fd);
  }
  return lacking;
}

bool LacksMemory() {
  void* const taken = std::malloc(2 * kMaxHeaderLineBytes);
  std::free(taken);
  return taken == nullptr;
}

bool IsTooLongALine(const CurlFailure& failure) {
  if (static_cast<int>(failure.code) == kTooLarge) return true;
  return failure.code == CURLE_OUT_OF_MEMORY && failure.began_request && !failure.began_body &&
         !LacksMemory();
}

std::string OfOurs(const CurlFailure& failure) {
  std::string want = DescribeOwnWant(failure.open_errno);
  if (want.empty() && failure.code == CURLE_COULDNT_CONNECT) {
    want = DescribeOwnWant(failure.connect_errno,
                           reinterpret_cast<const sockaddr*>(&failure.address),
                           failure.address_size);
  }
  // To send takes no port: the errno is that of an earlier request then.
  if (want.empty() && failure.code == CURLE_SEND_ERROR) {
    want = DescribeOwnWant(failure.connect_errno);
  }
  if (!want.empty()) return want;
  if (failure.code == CURLE_OUT_OF_MEMORY && !IsTooLongALine(failure)) {
    return "this server is short of memory; give it more";
  }
  // It takes a descriptor to read the authorities.
  const bool judges = failure.code == CURLE_SSL_CACERT_BADFILE ||
                      failure.code == CURLE_PEER_FAILED_VERIFICATION ||
                      failure.code == CURLE_SSL_CONNECT_ERROR;
  if (judges && LacksDescriptors()) {
    return "this server cannot open the file of certificate authorities; raise its limit of open "
           "files (ulimit -n, LimitNOFILE)";
  }
  return "";
}

// ---- What the peer speaks instead

bool IsTls(absl::string_view bytes) {
  // An alert or a handshake, of version 3.x.
  return bytes.size() >= 3 && (bytes[0] == 0x15 || bytes[0] == 0x16) && bytes[1] == 0x03;
}

bool IsHttp2(absl::string_view bytes) {
  constexpr char kSettings = 4;
  constexpr char kGoAway = 7;
  constexpr absl::string_view kNoStream("\0\0\0\0", 4);
  return bytes.size() >= 9 && bytes[0] == 0 && (bytes[3] == kSettings || bytes[3] == kGoAway) &&
         bytes.substr(5, 4) == kNoStream;
}

std::string OnlyHttp2(absl::string_view peer) {
  return absl::StrCat(peer,
                      " speaks HTTP/2 alone, and Postrider speaks HTTP/1.1; let the receiver take "
                      "HTTP/1.1 as well");
}

std::string ExplainBadAnswer(const CurlFailure& failure) {
  if (IsTls(failure.first_bytes)) {
    return absl::StrCat(failure.peer,
                        " speaks TLS at this port, and the URL begins with http://; write "
                        "https:// in the URL, or the port of plain HTTP");
  }
  if (IsHttp2(failure.first_bytes)) return OnlyHttp2(failure.peer);
  if (failure.unasked) {
    return absl::StrCat(failure.peer,
                        " spoke before it was asked, so what it said is no answer; check that the "
                        "URL names a web server");
  }
  if (failure.headers_too_large) {
    return absl::StrCat("the answer of ", failure.peer, " has more than ", kMaxHeaderBytes >> 10,
                        " KiB of headers; let the receiver answer with less");
  }
  if (IsTooLongALine(failure)) {
    return absl::StrCat("the answer of ", failure.peer, " has a header of more than ",
                        kMaxHeaderLineBytes >> 10, " KiB; let the receiver answer with less");
  }
  return absl::StrCat("what ", failure.peer, " answered is not HTTP/1.1",
                      failure.first_bytes.empty() ? absl::StrCat(": ", failure.detail) : "",
                      "; check that the URL names a web server, and http or https as it speaks");
}

// ---- TLS

bool WantsCertificate(absl::string_view detail) {
  // A client shows no certificate unless it is asked to, so alerts about one say that it was asked.
  return absl::StrContains(detail, "alert certificate required") ||
         absl::StrContains(detail, "alert bad certificate");
}

// In TLS 1.3 the handshake, as far as a client is concerned, is over before the peer judges its
// certificate. The alert that says so is lost when the peer's reset comes before it is read; what
// is seen then is what a peer does that asks for one, can do without, and fails.
bool BrokeOffForCertificate(const CurlFailure& failure) {
  return failure.asked_for_certificate &&
         (failure.code == CURLE_SEND_ERROR || absl::StrContains(failure.detail, "reset by peer"));
}

std::string ExplainTls(const CurlFailure& failure) {
  const std::string& detail = failure.detail;
  const std::string begin = absl::StrCat("no secure connection to ", failure.peer, ": ");
  if (absl::StrContains(detail, "wrong version number") ||
      absl::StrContains(detail, "packet length too long")) {
    return absl::StrCat(begin,
                        "what it speaks at this port is not TLS; write http:// in the URL, or the "
                        "port at which it speaks https");
  }
  if (absl::StrContains(detail, "no application protocol")) return OnlyHttp2(failure.peer);
  if (WantsCertificate(detail)) {
    return absl::StrCat(begin,
                        "it wants a client certificate, and Postrider has none to show; let the "
                        "receiver check the requests' signatures instead");
  }
  if (BrokeOffForCertificate(failure)) {
    return absl::StrCat(failure.peer,
                        " asked for a client certificate and broke the connection off; if it needs "
                        "one, which Postrider has none of, let it check the requests' signatures "
                        "instead; else see the receiver's log");
  }
  if (absl::StrContains(detail, "alert handshake failure")) {
    return absl::StrCat(begin,
                        "it broke the handshake off; either it wants a client certificate, which "
                        "Postrider has none of, or it takes no version and cipher of TLS that this "
                        "machine offers");
  }
  // Some say nothing to what they cannot read.
  if (absl::StrContains(detail, "SSL_ERROR_SYSCALL") ||
      absl::StrContains(detail, "unexpected eof") || absl::StrContains(detail, "reset by peer")) {
    return absl::StrCat(begin,
                        "it ended the connection in the middle of the handshake; see the "
                        "receiver's log, and write http:// in the URL if it does not speak TLS at "
                        "this port");
  }
  if (failure.code == CURLE_SSL_CACERT_BADFILE) {
    return absl::StrCat(begin, detail,
                        "; give the server a readable PEM file of certificate authorities");
  }
  return absl::StrCat(begin, detail,
                      "; give the receiver a certificate for that host from an authority that this "
                      "machine trusts");
}

std::string ExplainTimeout(const CurlFailure& failure) {
  if (failure.began_request) {
    return absl::StrFormat(
        "%s was connected, but its answer was not whole after %.1f s; let the receiver answer "
        "before it works, or raise the webhook's timeout",
        failure.peer, failure.seconds);
  }
  if (failure.opened_connection) {
    return absl::StrFormat(
        "%s was connected, but the TLS handshake was not over after %.1f s; check that the port of "
        "the URL is one that speaks https",
        failure.peer, failure.seconds);
  }
  return absl::StrFormat(
      "no connection to %s within %.1f s; check the host and port of the URL, and the firewalls "
      "on the way",
      failure.peer, failure.seconds);
}

}  // namespace

TransferError Explain(const CurlFailure& failure, std::string* sentence) {
  if (!failure.refusal.ok()) {
    *sentence = std::string(failure.refusal.message());
    return TransferError::kBlockedAddress;
  }
  const std::string ours = OfOurs(failure);
  if (!ours.empty()) {
    *sentence = absl::StrCat("no connection to ", failure.peer, ": ", ours);
    return TransferError::kNoResources;
  }
  if (failure.unasked) {
    *sentence = ExplainBadAnswer(failure);
    return TransferError::kBadAnswer;
  }
  switch (failure.code) {
    case CURLE_COULDNT_CONNECT:
      *sentence = absl::StrCat("no connection to ", failure.peer, ": ", failure.detail,
                               "; start the receiver, or correct the host and port of the URL");
      return TransferError::kConnect;
    case CURLE_OPERATION_TIMEDOUT:
      *sentence = ExplainTimeout(failure);
      return TransferError::kTimeout;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CLIENTCERT:
    case CURLE_SSL_CACERT_BADFILE:
      *sentence = ExplainTls(failure);
      return TransferError::kTls;
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
      if (WantsCertificate(failure.detail) || BrokeOffForCertificate(failure)) {
        *sentence = ExplainTls(failure);
        return TransferError::kTls;
      }
      *sentence = absl::StrCat(failure.peer,
                               " broke the connection off before its answer was whole: ",
                               failure.detail, "; see the receiver's log");
      // As servers do that speak TLS with OpenSSL.
      if (failure.code == CURLE_GOT_NOTHING && failure.plain && failure.opened_connection) {
        *sentence += ", and write https:// in the URL if it speaks TLS at this port";
      }
      return TransferError::kConnectionLost;
    default:
      // An answer that libcurl cannot read has many codes.
      *sentence = ExplainBadAnswer(failure);
      return TransferError::kBadAnswer;
  }
}

}  // namespace postrider
