#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/e2e/api_client.h"
#include "tests/e2e/filler.h"
#include "tests/e2e/full_disk_server.h"
#include "tests/e2e/server_process.h"
#include "tests/support/http_sink.h"

// What callers are told when there is no room, and that nothing is lost then.

namespace postrider {
namespace {

using testing::HasSubstr;

// The answer is RESOURCE_EXHAUSTED and says when to try again.
void ExpectExhausted(const RpcResult& result) {
  EXPECT_EQ(result.code, grpc::StatusCode::RESOURCE_EXHAUSTED) << result;
  const auto retry = result.Get<google::rpc::RetryInfo>();
  ASSERT_TRUE(retry.has_value()) << result;
  EXPECT_GT(retry->retry_delay().seconds() * 1'000'000'000 + retry->retry_delay().nanos(), 0);
}

// Configures a webhook and has its receiver refuse what comes.
void ConfigureRefusing(const ServerProcess& server, HttpSink& sink) {
  v1::Webhook webhook = WebhookAt("w", sink.Url(), absl::Milliseconds(200));
  ApiClient(server.grpc_address()).Configure(webhook);
  sink.SetScript([](const SinkRequest&) {
    SinkAnswer refusing;
    refusing.way = SinkAnswer::Way::kDrop;
    return refusing;
  });
}

TEST(RoomTest, AFullOutboxRefusesAndLosesNothing) {
  HttpSink sink;
  ServerProcess server;
  server.flags = {"--max-outbox-bytes", "2MiB"};
  ASSERT_TRUE(server.Start());
  ConfigureRefusing(server, sink);
  Filler filler(server.grpc_address());
  const RpcResult full = filler.Fill(10000);
  ExpectExhausted(full);
  EXPECT_THAT(full.message, HasSubstr("the outbox holds"));
  ExpectExhausted(filler.Publish(10));
  EXPECT_GT(filler.taken(), 50u);
  // In a batch, too, nothing is taken by halves.
  v1::BatchPublishNotificationsRequest batch;
  for (int i = 0; i < 3; ++i) {
    v1::Notification* one = batch.add_requests()->mutable_notification();
    one->set_notification_type("TEST");
    one->set_json_payload("{}");
  }
  v1::BatchPublishNotificationsResponse response;
  ExpectExhausted(
      ApiClient(server.grpc_address())
          .Call(&v1::NotificationService::Stub::BatchPublishNotifications, batch, &response));

  server.Kill();
  sink.SetScript({});
  ASSERT_TRUE(server.Start());
  filler.ExpectAllAt(sink);
}

TEST(RoomTest, AFullQueueRefusesAndLosesNothing) {
  HttpSink sink;
  ServerProcess server;
  server.flags = {"--max-notification-bytes", "200KiB", "--max-queue-bytes", "200KiB"};
  ASSERT_TRUE(server.Start());
  ApiClient(server.grpc_address()).Configure(WebhookAt("w", sink.Url()));
  Filler filler(server.grpc_address());
  // Several at once need more than the queue has, unless the disk takes each before the next comes.
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      const absl::Time deadline = absl::Now() + kPatience;
      while (refused < 3 && absl::Now() < deadline) {
        const RpcResult result = filler.Publish(150000);
        if (result.ok()) continue;
        ExpectExhausted(result);
        ++refused;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(refused, 3);
  EXPECT_TRUE(Eventually([&] { return filler.Publish(10).ok(); }));
  filler.ExpectAllAt(sink);
}

TEST(RoomTest, ADiskThatIsShortOfRoomRefuses) {
  ServerProcess server;
  server.flags = {"--min-free-bytes", "1000000TiB"};
  ASSERT_TRUE(server.Start());
  const RpcResult result = Filler(server.grpc_address()).Publish(10);
  ExpectExhausted(result);
  EXPECT_THAT(result.message, HasSubstr(server.data_dir()));
}

TEST(RoomTest, AFullDiskRefusesLosesNothingAndGoesOnWhenThereIsRoom) {
  HttpSink sink;
  FullDiskServer server;
  server.process().flags = {"--min-free-bytes", "0"};
  ASSERT_TRUE(server.Start());
  ConfigureRefusing(server.process(), sink);
  Filler filler(server.process().grpc_address());
  EXPECT_TRUE(filler.Publish(10).ok());

  server.FillUp();
  const RpcResult full = filler.Fill(50000);
  ExpectExhausted(full);
  EXPECT_THAT(full.message, HasSubstr(server.process().data_dir()));
  EXPECT_TRUE(server.process().process().WaitForErr("the disk is full"));
  // What was taken may have to wait, since outcomes cannot be recorded now.
  sink.SetScript({});
  server.MakeRoom();
  EXPECT_TRUE(Eventually([&] { return filler.Publish(10).ok(); }));
  filler.ExpectAllAt(sink);
  const ApiClient api(server.process().grpc_address());
  api.WaitForDeliveries("w", v1::DELIVERY_STATE_DELIVERED, filler.taken());
  EXPECT_TRUE(server.process().process().WaitForErr("the disk has room again"));
  EXPECT_EQ(server.process().Terminate(), 0);
}

}  // namespace
}  // namespace postrider
