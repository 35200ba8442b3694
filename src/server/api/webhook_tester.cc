#include "src/server/api/webhook_tester.h"

#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "src/base/utf8.h"
#include "src/message/masking.h"
#include "src/message/request.h"
#include "src/server/api/errors.h"
#include "src/server/api/time_conversion.h"

namespace postrider {
namespace {

// Calls `done` once, and gives the place among those under way back. When it is dropped uncalled,
// since the lane was stopped, `done` hears that.
class TestEnding {
 public:
  TestEnding(WebhookTester::Done done, TestShares* shares, std::string tenant)
      : done_(std::move(done)), shares_(shares), tenant_(std::move(tenant)) {}
  TestEnding(TestEnding&& other) noexcept
      : done_(std::move(other.done_)),
        shares_(std::exchange(other.shares_, nullptr)),
        tenant_(std::move(other.tenant_)) {}
  TestEnding& operator=(TestEnding&&) = delete;
  ~TestEnding() {
    if (shares_ != nullptr) Stopped();
  }

  void operator()(absl::StatusOr<v1::ValidationResult> result) {
    std::exchange(shares_, nullptr)->Leave(tenant_);
    std::move(done_)(std::move(result));
  }

  void Stopped() {
    (*this)(WithReason(
        absl::UnavailableError("the server is stopping, and the test request was broken off: try "
                               "again when it is back"),
        "STOPPING"));
  }

 private:
  WebhookTester::Done done_;
  TestShares* shares_;
  std::string tenant_;
};

absl::Status CutShort() {
  return absl::DeadlineExceededError(
      "the receiver did not answer the test request before the call's deadline: give the call more "
      "time");
}

absl::Status NoResources(const TransferResult& result) {
  return WithReason(
      absl::ResourceExhaustedError(absl::StrCat(
          "the webhook was not tested: ",
          result.message.empty() ? "the server is short of sockets" : ToUtf8(result.message),
          "; this says nothing about the receiver: try again in a moment")),
      "OUT_OF_RESOURCES");
}

std::string LocationOf(const TransferResult& result, const EchoMasker& masker) {
  for (const HttpHeader& header : result.response_headers) {
    if (absl::EqualsIgnoreCase(header.name, "location")) {
      // Before it is cut short.
      return absl::StrCat(" to ", Quoted(masker.Mask(header.value, /*cut=*/false)));
    }
  }
  return "";
}

// What an answer other than 200 means, and what to do about it.
std::string Advice(const TransferResult& result, const EchoMasker& masker) {
  const int status = result.http_status;
  if (status > 200 && status < 300) {
    return "that is a success, but a webhook is valid only when the test request is answered by "
           "exactly 200: have the receiver answer 200";
  }
  if (status >= 300 && status < 400) {
    return absl::StrCat("it redirects", LocationOf(result, masker),
                        ", and redirects are not followed: configure the URL that it leads to");
  }
  switch (status) {
    case 401:
    case 403:
    case 407:
      return "it does not accept the credentials: check the additional headers";
    case 404:
    case 410:
      return "there is nothing at this path: check the URL";
    case 405:
      return "it does not take POST at this path: check the URL";
    case 429:
      return "it is asked too often: try again later";
    default:
      break;
  }
  if (status >= 400 && status < 500) {
    return "it refuses the test request: see its answer, and check the URL and the headers";
  }
  if (status >= 500) return "it failed: see its answer and its log, mend it and try again";
  return "that is no final answer: have the receiver answer 200";
}

std::string ErrorSentence(const TransferResult& result, const EchoMasker& masker) {
  if (result.error != TransferError::kNone) {
    return result.message.empty() ? "the receiver did not answer: see that it can be reached"
                                  : ToUtf8(masker.Mask(result.message, /*cut=*/false));
  }
  if (result.http_status == 200) return "";
  return absl::StrCat("the receiver answered ", result.http_status, ": ", Advice(result, masker));
}

bool IsSensitive(const Webhook& webhook, const std::string& name) {
  if (IsAlwaysSensitive(name)) return true;
  for (const Header& header : webhook.headers) {
    if (header.sensitive && absl::EqualsIgnoreCase(header.name, name)) return true;
  }
  return false;
}

void FillRequest(const Webhook& webhook, const TransferRequest& request,
                 const TransferResult& result, v1::HttpRequest* proto) {
  proto->set_method("POST");
  proto->set_url(ToUtf8(request.target->url));
  proto->set_body(*request.body);
  std::vector<HttpHeader> sent = result.sent_headers;
  if (sent.empty()) {
    // It did not get as far as sending: what would have been sent.
    sent = request.headers;
    sent.insert(sent.end(), request.target->headers.begin(), request.target->headers.end());
  }
  for (const HttpHeader& header : sent) {
    v1::Header* added = proto->add_headers();
    const bool sensitive = IsSensitive(webhook, header.name);
    added->set_name(ToUtf8(header.name));
    added->set_value(sensitive ? std::string(kMaskedValue) : ToUtf8(header.value));
    added->set_sensitive(sensitive);
  }
}

void FillResponse(const EchoMasker& masker, const TransferResult& result,
                  v1::HttpResponse* proto) {
  proto->set_status(result.http_status);
  for (const HttpHeader& header : result.response_headers) {
    v1::Header* added = proto->add_headers();
    added->set_name(ToUtf8(header.name));
    added->set_value(ToUtf8(masker.Mask(header.value, /*cut=*/false)));
  }
  proto->set_body(ToUtf8(masker.Mask(result.body, result.body_truncated)));
  proto->set_body_truncated(result.body_truncated);
}

}  // namespace

v1::ValidationResult DescribeTest(const Webhook& webhook, const TransferRequest& request,
                                  const TransferResult& result) {
  const EchoMasker masker(webhook.headers);
  v1::ValidationResult proto;
  proto.set_valid(result.error == TransferError::kNone && result.http_status == 200);
  proto.set_http_status(result.error == TransferError::kNone ? result.http_status : 0);
  proto.set_error(ErrorSentence(result, masker));
  FillRequest(webhook, request, result, proto.mutable_request());
  if (result.error == TransferError::kNone) {
    FillResponse(masker, result, proto.mutable_response());
  }
  *proto.mutable_latency() = ToProto(result.latency);
  return proto;
}

WebhookTester::WebhookTester(std::vector<Lane> lanes, const Clock& clock, std::string version)
    : lanes_(std::move(lanes)), clock_(clock), version_(std::move(version)) {}

absl::Status TestShares::Enter(const std::string& tenant) {
  MutexLock lock(&mutex_);
  const auto it = by_tenant_.find(tenant);
  const int own = it == by_tenant_.end() ? 0 : it->second;
  const int shared = kMax - kForNewcomers;
  const int share = std::max(1, shared / std::max(1, static_cast<int>(by_tenant_.size())));
  if (own == 0 ? all_ >= kMax : own >= share || all_ >= shared) {
    return WithReason(absl::ResourceExhaustedError(absl::StrCat(
                          all_, " webhooks are being tested, ", own, " of tenant ", Quoted(tenant),
                          ", as many as may be at once: try again in a moment")),
                      "TOO_MANY_TESTS");
  }
  ++all_;
  by_tenant_[tenant] = own + 1;
  return absl::OkStatus();
}

void TestShares::Leave(const std::string& tenant) {
  MutexLock lock(&mutex_);
  --all_;
  const auto it = by_tenant_.find(tenant);
  if (--it->second == 0) by_tenant_.erase(it);
}

void WebhookTester::Test(const Webhook& webhook, const CallContext& context, Done done) {
  if (absl::Status entered = shares_.Enter(webhook.tenant); !entered.ok()) {
    return std::move(done)(std::move(entered));
  }
  const Lane& lane = lanes_[next_lane_.fetch_add(1, std::memory_order_relaxed) % lanes_.size()];
  auto send = [this, lane, webhook = webhook, context,
               ending = TestEnding(std::move(done), &shares_, webhook.tenant)]() mutable {
    if (stopping_.load(std::memory_order_relaxed)) return ending.Stopped();
    const absl::Time now = clock_.Now();
    if (absl::Status wanted = context.StillWanted(now); !wanted.ok()) return ending(wanted);
    // Nobody hears what comes later.
    const bool cut = context.deadline - now < webhook.timeout;
    if (cut) webhook.timeout = context.deadline - now;
    TransferRequest request = BuildTestRequest(webhook, version_, now);
    TransferRequest copy = request;
    lane.transport->Send(
        std::move(copy), [this, webhook = std::move(webhook), context, cut, request,
                          ending = std::move(ending)](TransferResult result) mutable {
          if (result.error == TransferError::kCancelled) {
            absl::Status wanted = context.StillWanted(clock_.Now());
            return wanted.ok() ? ending.Stopped() : ending(std::move(wanted));
          }
          if (cut && result.error == TransferError::kTimeout) return ending(CutShort());
          if (result.error == TransferError::kNoResources) return ending(NoResources(result));
          ending(DescribeTest(webhook, request, result));
        });
    if (context.cancellation == nullptr) return;
    context.cancellation->OnCancel([lane, target = request.target] {
      lane.executor->Post([lane, target] { lane.transport->Cancel(*target); });
    });
  };
  lane.executor->Post(std::move(send));
}

}  // namespace postrider
