#include "src/server/rpc/health_service.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/server/rpc/grpc_probe.h"
#include "tests/server/rpc/queued_server.h"
#include "tests/server/rpc/raw_http2.h"

namespace postrider {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using ::testing::HasSubstr;

class HealthServiceTest : public ::testing::Test {
 protected:
  static HealthCheckRequest Of(const std::string& service) {
    HealthCheckRequest request;
    request.set_service(service);
    return request;
  }

  // Reads what one watch is told.
  class Watch {
   public:
    Watch(Health::Stub& stub, const std::string& service)
        : reader_(stub.Watch(context_.get(), Of(service))) {}
    // -1 when the call has ended.
    int Next() {
      HealthCheckResponse response;
      return reader_->Read(&response) ? static_cast<int>(response.status()) : -1;
    }
    grpc::Status Finish() { return reader_->Finish(); }
    void Cancel() { context_->TryCancel(); }

   private:
    const std::unique_ptr<grpc::ClientContext> context_ = NewClientContext();
    const std::unique_ptr<grpc::ClientReader<HealthCheckResponse>> reader_;
  };

  HealthService health_{{"a.Service", "b.Service"}};
  QueuedServer server_{health_};
  const std::unique_ptr<Health::Stub> stub_ = Health::NewStub(server_.channel());
};

TEST_F(HealthServiceTest, CheckSaysWhatItIsTold) {
  const auto check = [this](const std::string& service) {
    HealthCheckResponse response;
    const grpc::Status status = stub_->Check(NewClientContext().get(), Of(service), &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.status();
  };
  for (const char* name : {"", "a.Service", "b.Service"}) {
    EXPECT_EQ(check(name), HealthCheckResponse::NOT_SERVING);
    health_.SetServing(true);
    EXPECT_EQ(check(name), HealthCheckResponse::SERVING);
    health_.SetServing(false);
  }
  HealthCheckResponse response;
  EXPECT_EQ(stub_->Check(NewClientContext().get(), Of("c.Service"), &response).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

TEST_F(HealthServiceTest, AWatchHearsEachChange) {
  Watch watch(*stub_, "a.Service");
  EXPECT_EQ(watch.Next(), HealthCheckResponse::NOT_SERVING);
  health_.SetServing(true);
  EXPECT_EQ(watch.Next(), HealthCheckResponse::SERVING);
  // No change, so nothing is told.
  health_.SetServing(true);
  health_.SetServing(false);
  EXPECT_EQ(watch.Next(), HealthCheckResponse::NOT_SERVING);
}

TEST_F(HealthServiceTest, AWatchOfAnUnknownServiceStaysOpen) {
  Watch watch(*stub_, "c.Service");
  EXPECT_EQ(watch.Next(), HealthCheckResponse::SERVICE_UNKNOWN);
  health_.SetServing(true);
  health_.EndWatches();
  EXPECT_EQ(watch.Next(), -1);
  EXPECT_EQ(watch.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(HealthServiceTest, AWatchThatItsClientCancelsDoesNotDisturbOthers) {
  Watch first(*stub_, "");
  Watch second(*stub_, "");
  EXPECT_EQ(first.Next(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(second.Next(), HealthCheckResponse::NOT_SERVING);
  first.Cancel();
  EXPECT_EQ(first.Finish().error_code(), grpc::StatusCode::CANCELLED);
  health_.SetServing(true);
  EXPECT_EQ(second.Next(), HealthCheckResponse::SERVING);
}

TEST_F(HealthServiceTest, TheEndOfTheWatchesEndsThemAll) {
  std::vector<std::unique_ptr<Watch>> watches;
  for (int i = 0; i < 20; ++i) {
    watches.push_back(std::make_unique<Watch>(*stub_, ""));
    EXPECT_EQ(watches.back()->Next(), HealthCheckResponse::NOT_SERVING);
  }
  health_.EndWatches();
  health_.EndWatches();
  for (const auto& watch : watches) {
    EXPECT_EQ(watch->Next(), -1);
    const grpc::Status status = watch->Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_THAT(status.error_message(), HasSubstr("stopping"));
  }
  Watch late(*stub_, "");
  EXPECT_EQ(late.Next(), -1);
  EXPECT_EQ(late.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(HealthServiceTest, ManyWatchesHearAChange) {
  std::vector<std::unique_ptr<Watch>> watches;
  for (int i = 0; i < 50; ++i) {
    watches.push_back(std::make_unique<Watch>(*stub_, i % 2 == 0 ? "" : "a.Service"));
  }
  for (const auto& watch : watches) EXPECT_EQ(watch->Next(), HealthCheckResponse::NOT_SERVING);
  health_.SetServing(true);
  for (const auto& watch : watches) EXPECT_EQ(watch->Next(), HealthCheckResponse::SERVING);
}

// A machine with few processors has one queue only.
TEST_F(HealthServiceTest, WatchesOfEveryQueueHearEachChangeAndTheEnd) {
  constexpr int kQueues = 3;
  HealthService health({"a.Service"});
  QueuedServer server(health, kQueues);
  std::vector<std::unique_ptr<Health::Stub>> stubs;
  std::vector<std::unique_ptr<Watch>> watches;
  for (int i = 0; i < 2 * kQueues; ++i) {
    stubs.push_back(Health::NewStub(server.NewChannel()));
    for (int j = 0; j < 4; ++j) watches.push_back(std::make_unique<Watch>(*stubs.back(), ""));
  }
  for (const auto& watch : watches) EXPECT_EQ(watch->Next(), HealthCheckResponse::NOT_SERVING);
  health.SetServing(true);
  for (const auto& watch : watches) EXPECT_EQ(watch->Next(), HealthCheckResponse::SERVING);
  health.SetServing(false);
  for (const auto& watch : watches) EXPECT_EQ(watch->Next(), HealthCheckResponse::NOT_SERVING);
  // The end comes while changes are still on their way.
  for (int i = 0; i < 100; ++i) health.SetServing(i % 2 == 0);
  health.EndWatches();
  for (const auto& watch : watches) {
    while (watch->Next() >= 0) {
    }
    EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  }
}

TEST_F(HealthServiceTest, AWatchWithANameThatNoServiceHasRoomForIsRefused) {
  Watch longest(*stub_, std::string(200, 'a'));
  EXPECT_EQ(longest.Next(), HealthCheckResponse::SERVICE_UNKNOWN);
  Watch longer(*stub_, std::string(201, 'a'));
  EXPECT_EQ(longer.Next(), -1);
  EXPECT_EQ(longer.Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(HealthServiceTest, AWatchThatIsNoRequestIsRefusedAndTheNextIsTaken) {
  for (int i = 0; i < 3; ++i) {
    std::string response;
    // A name of 5 bytes, but they do not follow.
    const grpc::Status refused =
        Exchange(server_.channel(), "/grpc.health.v1.Health/Watch", "\x0a\x05", &response);
    EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(refused.error_message(), HasSubstr("cannot be parsed"));
  }
  Watch watch(*stub_, "");
  EXPECT_EQ(watch.Next(), HealthCheckResponse::NOT_SERVING);
}

TEST_F(HealthServiceTest, OneClientCannotTakeAllWatches) {
  std::vector<std::unique_ptr<Watch>> watches;
  for (int i = 0; i < 100; ++i) watches.push_back(std::make_unique<Watch>(*stub_, ""));
  for (const auto& watch : watches) ASSERT_EQ(watch->Next(), HealthCheckResponse::NOT_SERVING);
  {
    Watch one_more(*stub_, "");
    EXPECT_EQ(one_more.Next(), -1);
    const grpc::Status status = one_more.Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_EQ(ReasonOf(status), "TOO_MANY_WATCHERS");
  }
  {
    RawHttp2 other(server_.port(), "", "127.0.0.2");
    ASSERT_TRUE(other.Greet());
    ASSERT_TRUE(other.Send(
        RawHttp2::Frame(RawHttp2::kHeaders, RawHttp2::kEndHeaders, 1,
                        RawHttp2::CallHeader("/grpc.health.v1.Health/Watch")) +
        RawHttp2::Frame(RawHttp2::kData, RawHttp2::kEndStream, 1, RawHttp2::Message(""))));
    // HealthCheckResponse{status: NOT_SERVING}
    EXPECT_TRUE(other.WaitForBytes(RawHttp2::Message("\x08\x02")));
  }
  // One that ends makes room.
  watches.back()->Cancel();
  EXPECT_EQ(watches.back()->Finish().error_code(), grpc::StatusCode::CANCELLED);
  for (;;) {
    Watch another(*stub_, "");
    if (another.Next() == HealthCheckResponse::NOT_SERVING) {
      another.Cancel();
      break;
    }
    ASSERT_EQ(another.Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  }
}

TEST_F(HealthServiceTest, AServerThatStopsCancelsAWatchThatWasNotEnded) {
  Watch watch(*stub_, "");
  EXPECT_EQ(watch.Next(), HealthCheckResponse::NOT_SERVING);
  server_.Shutdown(absl::ZeroDuration());
  EXPECT_EQ(watch.Next(), -1);
  EXPECT_FALSE(watch.Finish().ok());
}

}  // namespace
}  // namespace postrider
