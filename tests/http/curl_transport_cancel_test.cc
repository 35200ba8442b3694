#include "src/http/curl_transport.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/http/sink_answers.h"
#include "tests/http/transport_harness.h"
#include "tests/support/http_sink.h"

namespace postrider {
namespace {

using Way = SinkAnswer::Way;

TEST(CurlTransportTest, CancelEndsWhatGoesToOneTargetAndNothingElse) {
  HttpSink sink(Always(By(Way::kHang)));
  TransportHarness h;
  h.thread.Call([&] { h.resolver.holds = true; });
  const TransferRequest sent = TransportHarness::Request(sink.Url());
  const TransferRequest other = TransportHarness::Request(sink.Url());
  const TransferRequest unresolved = TransportHarness::Request(UrlOf("slow.test", sink));
  h.Start(sent);
  h.Start(sent);
  h.Start(other);
  h.Start(unresolved);
  ASSERT_TRUE(sink.WaitForRequests(3));
  h.thread.Call([&] {
    h.transport->Cancel(*sent.target);
    h.transport->Cancel(*unresolved.target);
    h.transport->Cancel(*unresolved.target);
  });
  for (const TransferResult& result : h.results.WaitFor(3)) {
    EXPECT_EQ(result.error, TransferError::kCancelled);
  }
  h.thread.Call([&] { h.resolver.Tell(); });
  h.thread.Turn();
  EXPECT_EQ(h.results.size(), 3u) << "the other one goes on, and each is told once";
  h.CancelAll();
  EXPECT_EQ(h.results.WaitFor(4)[3].error, TransferError::kCancelled);
}

TEST(CurlTransportTest, CancelAllEndsEveryStage) {
  HttpSink sink(Always(By(Way::kHang)));
  TransportHarness h;
  h.thread.Call([&] {
    h.resolver.hosts["slow.test"] = {"127.0.0.1"};
    h.resolver.holds = true;
  });
  h.Start(TransportHarness::Request(UrlOf("slow.test", sink)));
  // The sink waits for the request, the client for the server's part of the handshake.
  h.Start(TransportHarness::Request(absl::StrCat("https://127.0.0.1:", sink.port(), "/")));
  h.Start(TransportHarness::Request(sink.Url()));
  ASSERT_TRUE(sink.WaitForRequests(1));
  EXPECT_EQ(h.results.size(), 0u);
  h.thread.Call([&] {
    // One whose connection was not even begun.
    h.transport->Send(TransportHarness::Request(sink.Url()),
                      [&](TransferResult result) { h.results.Put(std::move(result)); });
    // And one that has ended, but was not told.
    h.transport->Send(TransportHarness::Request("nowhere"),
                      [&](TransferResult result) { h.results.Put(std::move(result)); });
    h.transport->CancelAll();
    EXPECT_EQ(h.results.size(), 5u) << "all are told before it returns";
  });
  size_t cancelled = 0;
  for (const TransferResult& result : h.results.WaitFor(5)) {
    if (result.error != TransferError::kCancelled) continue;
    ++cancelled;
    EXPECT_EQ(result.http_status, 0);
    EXPECT_NE(result.message, "");
  }
  EXPECT_EQ(cancelled, 4u);
  h.thread.Call([&] { h.resolver.Tell(); });
  h.thread.Turn();
  EXPECT_EQ(h.results.size(), 5u) << "each is told once";

  h.CancelAll();
  sink.SetScript({});
  EXPECT_EQ(h.Send(sink.Url()).http_status, 200) << "the transport goes on";
}

TEST(CurlTransportTest, ADoneMayCancelAll) {
  HttpSink sink;
  TransportHarness h;
  std::vector<TransferError> errors;
  h.thread.Call([&] {
    for (int i = 0; i < 3; ++i) {
      h.transport->Send(TransportHarness::Request("nowhere"), [&](TransferResult result) {
        errors.push_back(result.error);
        if (errors.size() == 1) h.transport->CancelAll();
      });
    }
    h.transport->Send(TransportHarness::Request(sink.Url()), [&](TransferResult result) {
      errors.push_back(result.error);
      h.results.Put(std::move(result));
    });
  });
  h.results.WaitFor(1);
  h.thread.Turn();
  h.thread.Stop();
  EXPECT_THAT(errors,
              testing::UnorderedElementsAre(TransferError::kResolve, TransferError::kResolve,
                                            TransferError::kResolve, TransferError::kCancelled));
}

TEST(CurlTransportTest, DestructionTellsWhatIsUnderWay) {
  HttpSink sink(Always(By(Way::kHang)));
  Mailbox<TransferResult> results;
  {
    TransportHarness h;
    h.thread.Call([&] {
      h.transport->Send(TransportHarness::Request(sink.Url()),
                        [&](TransferResult result) { results.Put(std::move(result)); });
    });
    ASSERT_TRUE(sink.WaitForRequests(1));
  }
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results.WaitFor(1)[0].error, TransferError::kCancelled);
}

}  // namespace
}  // namespace postrider
