#include "src/server/rpc/health_service.h"

#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "src/server/api/errors.h"
#include "src/server/rpc/call_peer.h"
#include "src/server/rpc/grpc_status.h"

namespace postrider {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// Each holds a little memory for as long as its client wants.
constexpr int kMaxWatches = 1000;
constexpr int kMaxWatchesOfPeer = 100;
// As gRPC's own service has it.
constexpr size_t kMaxNameBytes = 200;

absl::Status TooManyWatches() {
  return WithReason(absl::ResourceExhaustedError("too many watch already: use Check"),
                    "TOO_MANY_WATCHERS");
}

}  // namespace

// The calls that watch, of one queue. Belongs to the queue's thread, but for Tell.
class HealthService::Watches final : public CallQueue::Event {
 public:
  Watches(HealthService& service, CallQueue& queue) : service_(service), queue_(queue) {}

  // Any thread.
  void Tell() {
    {
      MutexLock lock(&mutex_);
      if (told_) return;
      told_ = true;
    }
    queue_.Run(this);
  }

  void Happened(bool ok) override;

  HealthService& service() const { return service_; }
  CallQueue& call_queue() const { return queue_; }

  void TakeOne();
  void Add(Watch* watch) { all_.insert(watch); }
  void Remove(Watch* watch) { all_.erase(watch); }

 private:
  HealthService& service_;
  CallQueue& queue_;
  std::set<Watch*> all_;

  Mutex mutex_;
  bool told_ ABSL_GUARDED_BY(mutex_) = false;
};

// One call that watches. It is deleted when nothing of it is under way at gRPC any more.
class HealthService::Watch final {
 public:
  explicit Watch(Watches& watches) : hold_(watches.call_queue()), watches_(watches) {
    context_.AsyncNotifyWhenDone(&done_);
    watches_.service().service_.TakeStream(Api::MethodOf("Watch"), &context_, &bytes_, &writer_,
                                           watches.call_queue().queue(), &taken_);
  }

  // Sends what has changed, and ends the call when it is over.
  void Look() {
    if (writing_ || finishing_) return;
    if (cancelled_) return Finish(grpc::Status::CANCELLED);
    if (watches_.service().ended()) {
      return Finish(ToGrpcStatus(WithReason(
          absl::UnavailableError("the server is stopping: watch it again later"), "STOPPING")));
    }
    const Status status = watches_.service().StatusOf(name_);
    if (response_.status() == status) return;
    response_.set_status(status);
    writing_ = true;
    writer_.Write(response_, &written_);
  }

 private:
  class Step final : public CallQueue::Event {
   public:
    Step(Watch& watch, void (Watch::*step)(bool)) : watch_(watch), step_(step) {}
    void Happened(bool ok) override { (watch_.*step_)(ok); }

   private:
    Watch& watch_;
    void (Watch::*const step_)(bool);
  };

  void OnTaken(bool ok) {
    if (!ok) {
      // The server takes no more calls. That it is done is told only of those that were taken.
      delete this;
      return;
    }
    watches_.TakeOne();
    HealthCheckRequest request;
    const absl::Status parsed = ParseRequest(&bytes_, &request);
    if (!parsed.ok()) return Finish(ToGrpcStatus(parsed));
    if (request.service().size() > kMaxNameBytes) {
      return Finish(ToGrpcStatus(
          InvalidField("service", "the name is longer than that of any service")));
    }
    name_ = request.service();
    peer_ = PeerOfCall(context_.peer());
    counted_ = watches_.service().CountWatch(peer_);
    if (!counted_) return Finish(ToGrpcStatus(TooManyWatches()));
    watches_.Add(this);
    Look();
  }

  void OnWritten(bool ok) {
    writing_ = false;
    // When it could not be written, OnDone comes.
    if (ok || cancelled_) Look();
  }

  // The client has gone, or the call was finished.
  void OnDone(bool /*ok*/) {
    is_done_ = true;
    cancelled_ = context_.IsCancelled();
    Look();
    MaybeDelete();
  }

  void Finish(const grpc::Status& status) {
    finishing_ = true;
    watches_.Remove(this);
    if (std::exchange(counted_, false)) watches_.service().UncountWatch(peer_);
    writer_.Finish(status, &finished_);
  }

  void OnFinished(bool /*ok*/) {
    is_finished_ = true;
    MaybeDelete();
  }

  void MaybeDelete() {
    if (is_done_ && is_finished_) delete this;
  }

  const CallQueue::Hold hold_;
  Watches& watches_;
  grpc::ServerContext context_;
  grpc::ByteBuffer bytes_;
  std::string name_;
  std::string peer_;
  bool counted_ = false;
  HealthCheckResponse response_;
  grpc::ServerAsyncWriter<HealthCheckResponse> writer_{&context_};
  bool writing_ = false;
  bool cancelled_ = false;
  bool finishing_ = false;
  bool is_done_ = false;
  bool is_finished_ = false;
  Step taken_{*this, &Watch::OnTaken};
  Step written_{*this, &Watch::OnWritten};
  Step done_{*this, &Watch::OnDone};
  Step finished_{*this, &Watch::OnFinished};
};

void HealthService::Watches::Happened(bool /*ok*/) {
  {
    MutexLock lock(&mutex_);
    told_ = false;
  }
  const std::vector<Watch*> all(all_.begin(), all_.end());
  for (Watch* watch : all) watch->Look();
}

// gRPC holds it until its call comes.
void HealthService::Watches::TakeOne() { new Watch(*this); }

HealthService::HealthService(const std::vector<std::string>& service_names) {
  statuses_[""] = HealthCheckResponse::NOT_SERVING;
  for (const std::string& name : service_names) statuses_[name] = HealthCheckResponse::NOT_SERVING;
}

HealthService::~HealthService() = default;

void HealthService::SetServing(bool serving) {
  MutexLock lock(&mutex_);
  // Nobody watches any more, and the queues may be gone.
  if (ended_) return;
  for (auto& [name, status] : statuses_) {
    status = serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
  }
  Tell();
}

void HealthService::EndWatches() {
  MutexLock lock(&mutex_);
  if (!std::exchange(ended_, true)) Tell();
}

void HealthService::Tell() {
  for (const auto& watches : watches_) watches->Tell();
}

bool HealthService::CountWatch(const std::string& peer) {
  MutexLock lock(&mutex_);
  if (watch_count_ >= kMaxWatches) return false;
  int& of_peer = watches_by_peer_[peer];
  if (of_peer >= kMaxWatchesOfPeer) return false;
  ++of_peer;
  ++watch_count_;
  return true;
}

void HealthService::UncountWatch(const std::string& peer) {
  MutexLock lock(&mutex_);
  const auto found = watches_by_peer_.find(peer);
  if (--found->second == 0) watches_by_peer_.erase(found);
  --watch_count_;
}

HealthService::Status HealthService::StatusOf(const std::string& name) const {
  MutexLock lock(&mutex_);
  const auto found = statuses_.find(name);
  return found == statuses_.end() ? HealthCheckResponse::SERVICE_UNKNOWN : found->second;
}

bool HealthService::ended() const {
  MutexLock lock(&mutex_);
  return ended_;
}

void HealthService::TakeCalls(CallQueue& queue) {
  checks_.push_back(std::make_unique<UnaryMethod<HealthCheckRequest, HealthCheckResponse>>(
      queue,
      [this, number = Api::MethodOf("Check")](auto... arguments) {
        service_.TakeUnary(number, arguments...);
      },
      [this](const HealthCheckRequest& request, HealthCheckResponse* response, UnaryCall* call) {
        response->set_status(StatusOf(request.service()));
        call->Answer(response->status() != HealthCheckResponse::SERVICE_UNKNOWN
                         ? grpc::Status::OK
                         : ToGrpcStatus(absl::NotFoundError("there is no such service")));
      }));
  watches_.push_back(std::make_unique<Watches>(*this, queue));
  watches_.back()->TakeOne();
}

}  // namespace postrider
