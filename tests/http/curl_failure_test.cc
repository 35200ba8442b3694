#include "src/http/curl_failure.h"

#include <netinet/in.h>

#include <cerrno>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace postrider {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

CurlFailure Failure(CURLcode code, const std::string& detail = "detail") {
  CurlFailure failure;
  failure.code = code;
  failure.detail = detail;
  failure.peer = "receiver.test:443";
  return failure;
}

struct Told {
  TransferError error;
  std::string sentence;
};

Told Tell(const CurlFailure& failure) {
  Told told;
  told.error = Explain(failure, &told.sentence);
  EXPECT_THAT(told.sentence, HasSubstr("receiver.test:443"));
  return told;
}

void SetAddress(CurlFailure& failure, uint32_t address) {
  auto* const in = reinterpret_cast<sockaddr_in*>(&failure.address);
  in->sin_family = AF_INET;
  in->sin_addr.s_addr = htonl(address);
  in->sin_port = htons(443);
  failure.address_size = sizeof *in;
}

TEST(CurlFailureTest, WhatThisProcessLacksIsNotTheReceiversFault) {
  for (const int error : {EMFILE, ENFILE, ENOBUFS, ENOMEM}) {
    CurlFailure no_socket = Failure(CURLE_COULDNT_CONNECT);
    no_socket.open_errno = error;
    EXPECT_EQ(Tell(no_socket).error, TransferError::kNoResources) << error;
    CurlFailure not_connected = Failure(CURLE_COULDNT_CONNECT);
    not_connected.connect_errno = error;
    EXPECT_EQ(Tell(not_connected).error, TransferError::kNoResources) << error;
    CurlFailure not_sent = Failure(CURLE_SEND_ERROR);
    not_sent.connect_errno = error;
    not_sent.began_request = true;
    EXPECT_EQ(Tell(not_sent).error, TransferError::kNoResources) << error;
  }
  CurlFailure no_port = Failure(CURLE_COULDNT_CONNECT);
  no_port.connect_errno = EADDRNOTAVAIL;
  SetAddress(no_port, INADDR_LOOPBACK);
  EXPECT_EQ(Tell(no_port).error, TransferError::kNoResources);
  EXPECT_THAT(Tell(no_port).sentence, HasSubstr("ip_local_port_range"));
  EXPECT_EQ(Tell(Failure(CURLE_OUT_OF_MEMORY)).error, TransferError::kNoResources);
}

TEST(CurlFailureTest, WhatTheNetworkOrTheReceiverLacksIsNotOurs) {
  for (const int error : {ECONNREFUSED, ENETUNREACH, EHOSTUNREACH, ETIMEDOUT, EADDRNOTAVAIL}) {
    CurlFailure failure = Failure(CURLE_COULDNT_CONNECT);
    failure.connect_errno = error;
    EXPECT_EQ(Tell(failure).error, TransferError::kConnect) << error;
  }
  // This machine has no address from which it could be reached, however many ports are free.
  CurlFailure nowhere = Failure(CURLE_COULDNT_CONNECT);
  nowhere.connect_errno = EADDRNOTAVAIL;
  SetAddress(nowhere, INADDR_BROADCAST);
  EXPECT_EQ(Tell(nowhere).error, TransferError::kConnect);
  // To send takes no port, so this was found out about an earlier request; as was the next one.
  CurlFailure not_sent = Failure(CURLE_SEND_ERROR);
  not_sent.connect_errno = EADDRNOTAVAIL;
  SetAddress(not_sent, INADDR_LOOPBACK);
  EXPECT_EQ(Tell(not_sent).error, TransferError::kConnectionLost);
  CurlFailure later = Failure(CURLE_RECV_ERROR);
  later.connect_errno = ENOBUFS;
  EXPECT_EQ(Tell(later).error, TransferError::kConnectionLost);
}

TEST(CurlFailureTest, AnEndlessHeaderLineIsNoLackOfMemory) {
  // As of 8.6, and as before.
  for (const int code : {100, static_cast<int>(CURLE_OUT_OF_MEMORY)}) {
    CurlFailure failure = Failure(static_cast<CURLcode>(code), "Out of memory");
    failure.began_request = true;
    EXPECT_EQ(Tell(failure).error, TransferError::kBadAnswer);
    EXPECT_THAT(Tell(failure).sentence,
                AllOf(HasSubstr("a header of more than 100 KiB"), Not(HasSubstr("emory"))));
  }
}

TEST(CurlFailureTest, EachWrongPortHasASentenceOfItsOwn) {
  // As OpenSSL 3.0 and 3.5 say it.
  for (const char* detail :
       {"error:0A00010B:SSL routines::wrong version number", "packet length too long"}) {
    const Told told = Tell(Failure(CURLE_SSL_CONNECT_ERROR, detail));
    EXPECT_EQ(told.error, TransferError::kTls);
    EXPECT_THAT(told.sentence, HasSubstr("is not TLS; write http:// in the URL"));
  }
  CurlFailure tls = Failure(CURLE_WRITE_ERROR);
  tls.first_bytes = std::string("\x15\x03\x01\x00\x02\x02\x46", 7);
  EXPECT_EQ(Tell(tls).error, TransferError::kBadAnswer);
  EXPECT_THAT(Tell(tls).sentence, HasSubstr("write https:// in the URL"));
  CurlFailure http2 = Failure(CURLE_WRITE_ERROR);
  // GOAWAY.
  http2.first_bytes = std::string("\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\1", 16);
  EXPECT_EQ(Tell(http2).error, TransferError::kBadAnswer);
  EXPECT_THAT(Tell(http2).sentence, HasSubstr("HTTP/2 alone"));
  CurlFailure other = Failure(CURLE_WRITE_ERROR);
  other.first_bytes = "SSH-2.0-OpenSSH";
  EXPECT_EQ(Tell(other).error, TransferError::kBadAnswer);
  EXPECT_THAT(Tell(other).sentence, AllOf(HasSubstr("is not HTTP/1.1"), HasSubstr("check that")));
}

TEST(CurlFailureTest, AlertsAboutClientCertificatesHaveASentenceOfTheirOwn) {
  for (const char* detail : {"tlsv13 alert certificate required", "sslv3 alert bad certificate",
                             "ssl/tls alert bad certificate"}) {
    for (const CURLcode code : {CURLE_SSL_CONNECT_ERROR, CURLE_RECV_ERROR}) {
      const Told told = Tell(Failure(code, detail));
      EXPECT_EQ(told.error, TransferError::kTls) << detail;
      EXPECT_THAT(told.sentence, HasSubstr("it wants a client certificate"));
    }
  }
  // Whose alert was lost.
  for (const auto& [code, detail] :
       {std::pair(CURLE_SEND_ERROR, "Send failure: Broken pipe"),
        std::pair(CURLE_RECV_ERROR, "OpenSSL SSL_read: Connection reset by peer, errno 104")}) {
    CurlFailure failure = Failure(code, detail);
    EXPECT_EQ(Tell(failure).error, TransferError::kConnectionLost) << detail;
    failure.asked_for_certificate = true;
    EXPECT_EQ(Tell(failure).error, TransferError::kTls) << detail;
    EXPECT_THAT(Tell(failure).sentence, HasSubstr("asked for a client certificate"));
  }
  // One that has read the request and ends without an answer has another reason.
  CurlFailure ended = Failure(CURLE_RECV_ERROR, "unexpected eof while reading");
  ended.asked_for_certificate = true;
  EXPECT_EQ(Tell(ended).error, TransferError::kConnectionLost);
  const Told either = Tell(Failure(CURLE_SSL_CONNECT_ERROR, "sslv3 alert handshake failure"));
  EXPECT_EQ(either.error, TransferError::kTls);
  EXPECT_THAT(either.sentence, HasSubstr("either it wants a client certificate"));
}

}  // namespace
}  // namespace postrider
