#include "tools/benchmark/publish_load.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tools/benchmark/environment.h"
#include "tools/benchmark/message.h"

namespace postrider::bench {
namespace {

constexpr auto kConnectTimeout = std::chrono::seconds(10);
// How soon a call that might not be sent asks again.
constexpr auto kRetry = std::chrono::milliseconds(1);

}  // namespace

std::shared_ptr<grpc::Channel> NewConnection(const std::string& address, int number) {
  grpc::ChannelArguments arguments;
  arguments.SetInt("postrider.bench.connection", number);
  auto channel = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + kConnectTimeout)) {
    Fail(absl::StrCat("no gRPC connection to ", address));
  }
  return channel;
}

struct PublishLoad::Call {
  std::optional<grpc::ClientContext> context;
  v1::PublishNotificationResponse response;
  v1::BatchPublishNotificationsResponse batch_response;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::PublishNotificationResponse>> one;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::BatchPublishNotificationsResponse>> batch;
  grpc::Status status;
  v1::NotificationService::Stub* stub = nullptr;
};

// One thread with its completion queue and its share of the calls.
class PublishLoad::Worker {
 public:
  Worker(PublishLoad& load, int first_call, int calls) : load_(load), calls_(calls) {
    next_request_ = static_cast<size_t>(first_call) % load_.options_.requests.size();
    stamped_ = load_.options_.requests;
    for (Call& call : calls_) {
      call.stub = load_.stubs_[static_cast<size_t>(first_call++) % load_.stubs_.size()].get();
      waiting_.push_back(&call);
    }
    thread_ = std::thread([this] { Run(); });
  }
  void Join() { thread_.join(); }

 private:
  void Run();
  void SendWaiting();
  void Send(Call* call);
  void OnAnswer(Call* call);
  const v1::PublishNotificationRequest& NextRequest();

  PublishLoad& load_;
  grpc::CompletionQueue queue_;
  std::vector<Call> calls_;
  std::vector<Call*> waiting_;
  std::vector<v1::PublishNotificationRequest> stamped_;
  size_t next_request_;
  std::thread thread_;
};

void PublishLoad::Worker::Run() {
  while (true) {
    SendWaiting();
    if (load_.stopping_ && waiting_.size() == calls_.size()) break;
    void* tag = nullptr;
    bool ok = false;
    if (waiting_.empty()) {
      queue_.Next(&tag, &ok);
    } else if (queue_.AsyncNext(&tag, &ok, std::chrono::system_clock::now() + kRetry) !=
               grpc::CompletionQueue::GOT_EVENT) {
      continue;
    }
    OnAnswer(static_cast<Call*>(tag));
  }
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

void PublishLoad::Worker::SendWaiting() {
  while (!waiting_.empty() && !load_.stopping_) {
    if (load_.options_.may_send && !load_.options_.may_send()) return;
    Call* const call = waiting_.back();
    waiting_.pop_back();
    Send(call);
  }
}

const v1::PublishNotificationRequest& PublishLoad::Worker::NextRequest() {
  v1::PublishNotificationRequest& request = stamped_[next_request_];
  if (++next_request_ == stamped_.size()) next_request_ = 0;
  if (load_.options_.stamp) Stamp(NowNs(), &request);
  return request;
}

void PublishLoad::Worker::Send(Call* call) {
  load_.sent_.fetch_add(1, std::memory_order_relaxed);
  call->context.emplace();
  if (load_.options_.batch > 0) {
    call->batch =
        call->stub->AsyncBatchPublishNotifications(&*call->context, load_.batch_request_, &queue_);
    call->batch->Finish(&call->batch_response, &call->status, call);
  } else {
    call->one = call->stub->AsyncPublishNotification(&*call->context, NextRequest(), &queue_);
    call->one->Finish(&call->response, &call->status, call);
  }
}

void PublishLoad::Worker::OnAnswer(Call* call) {
  if (!call->status.ok()) Fail(absl::StrCat("publishing: ", call->status.error_message()));
  int64_t count = 1;
  if (load_.options_.batch > 0) {
    count = load_.options_.batch;
    if (call->batch_response.results_size() != count) Fail("a batch was answered in part");
    for (const auto& result : call->batch_response.results()) {
      if (result.response().notification_id().empty()) {
        Fail(absl::StrCat("publishing in a batch: ", result.status().message()));
      }
    }
  } else if (call->response.notification_id().empty()) {
    Fail("a notification was answered without an id");
  }
  load_.published_.fetch_add(count, std::memory_order_relaxed);
  waiting_.push_back(call);
}

PublishLoad::PublishLoad(PublishLoadOptions options) : options_(std::move(options)) {
  for (int i = 0; i < options_.channels; ++i) {
    stubs_.push_back(v1::NotificationService::NewStub(NewConnection(options_.address, i)));
  }
  for (int i = 0; i < options_.batch; ++i) {
    *batch_request_.add_requests() = options_.requests.front();
  }
  int first_call = 0;
  for (int i = 0; i < options_.threads; ++i) {
    const int calls = (options_.in_flight - first_call) / (options_.threads - i);
    workers_.push_back(std::make_unique<Worker>(*this, first_call, calls));
    first_call += calls;
  }
}

PublishLoad::~PublishLoad() {
  stopping_ = true;
  for (const auto& worker : workers_) worker->Join();
}

std::vector<int64_t> PublishAt(const std::string& address,
                               const v1::PublishNotificationRequest& request,
                               const std::vector<int64_t>& times_ns) {
  struct Paced {
    grpc::ClientContext context;
    v1::PublishNotificationResponse response;
    std::unique_ptr<grpc::ClientAsyncResponseReader<v1::PublishNotificationResponse>> reader;
    grpc::Status status;
    int64_t sent_ns = 0;
  };
  const auto stub = v1::NotificationService::NewStub(NewConnection(address, 0));
  grpc::CompletionQueue queue;
  std::vector<int64_t> took_ns;
  std::thread reaper([&] {
    void* tag = nullptr;
    bool ok = false;
    while (took_ns.size() < times_ns.size() && queue.Next(&tag, &ok)) {
      const int64_t now_ns = NowNs();
      const std::unique_ptr<Paced> call(static_cast<Paced*>(tag));
      if (!call->status.ok()) Fail(absl::StrCat("publishing: ", call->status.error_message()));
      took_ns.push_back(now_ns - call->sent_ns);
    }
  });
  v1::PublishNotificationRequest stamped = request;
  for (const int64_t time_ns : times_ns) {
    SleepUntilNs(time_ns);
    auto call = std::make_unique<Paced>();
    call->sent_ns = NowNs();
    Stamp(call->sent_ns, &stamped);
    call->reader = stub->AsyncPublishNotification(&call->context, stamped, &queue);
    call->reader->Finish(&call->response, &call->status, call.get());
    call.release();
  }
  reaper.join();
  queue.Shutdown();
  std::sort(took_ns.begin(), took_ns.end());
  return took_ns;
}

}  // namespace postrider::bench
