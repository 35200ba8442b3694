#include "tools/benchmark/server_process.h"

#include <curl/curl.h>
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tools/benchmark/environment.h"
#include "tools/benchmark/message.h"

namespace postrider::bench {
namespace {

constexpr absl::Duration kReadyTimeout = absl::Seconds(60);
constexpr auto kCallTimeout = std::chrono::seconds(30);

size_t Append(char* data, size_t size, size_t count, void* text) {
  static_cast<std::string*>(text)->append(data, size * count);
  return size * count;
}

std::string Get(const std::string& url) {
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> easy(curl_easy_init(),
                                                                 &curl_easy_cleanup);
  std::string text;
  curl_easy_setopt(easy.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy.get(), CURLOPT_PROXY, "");
  curl_easy_setopt(easy.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy.get(), CURLOPT_TIMEOUT_MS, 10'000L);
  curl_easy_setopt(easy.get(), CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(easy.get(), CURLOPT_WRITEFUNCTION, &Append);
  curl_easy_setopt(easy.get(), CURLOPT_WRITEDATA, &text);
  const CURLcode code = curl_easy_perform(easy.get());
  if (code != CURLE_OK) Fail(absl::StrCat("GET ", url, ": ", curl_easy_strerror(code)));
  return text;
}

void Check(const grpc::Status& status, const char* call) {
  if (!status.ok()) Fail(absl::StrCat(call, ": ", status.error_message()));
}

}  // namespace

std::string ReadyField(const std::string& line, const std::string& field) {
  for (const absl::string_view word : absl::StrSplit(line, ' ')) {
    if (absl::StartsWith(word, field)) return std::string(word.substr(field.size()));
  }
  Fail(absl::StrCat("the ready line '", line, "' has no ", field));
}

ServerProcess::ServerProcess(const std::string& binary, const std::string& data_dir)
    : process_({binary, "serve", "--data-dir", data_dir, "--listen", "127.0.0.1:0", "--http-listen",
                "127.0.0.1:0", "--allow-network", "127.0.0.0/8"},
               data_dir + ".log") {
  const std::string ready = process_.ReadLine(kReadyTimeout);
  ready_ns_ = NowNs();
  grpc_address_ = ReadyField(ready, "grpc=");
  http_address_ = ReadyField(ready, "http=");
  const auto channel = grpc::CreateChannel(grpc_address_, grpc::InsecureChannelCredentials());
  webhooks_ = v1::WebhookService::NewStub(channel);
  notifications_ = v1::NotificationService::NewStub(channel);
}

void ServerProcess::Configure(const WebhookSpec& spec) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
  v1::ConfigureWebhookRequest request;
  v1::ConfigureWebhookResponse response;
  v1::Webhook* const webhook = request.mutable_webhook();
  webhook->set_name(spec.name);
  webhook->set_url(spec.url);
  webhook->set_enabled(true);
  for (const std::string& type : spec.types) webhook->add_notification_types(type);
  for (const auto& [name, value] : AdditionalHeaders()) {
    v1::Header* const header = webhook->add_headers();
    header->set_name(name);
    header->set_value(value);
  }
  // Long enough that what the sink leaves unanswered is not a failure before the scenario ends.
  webhook->mutable_timeout()->set_seconds(300);
  webhook->set_max_concurrency(spec.max_concurrency);
  if (spec.per_second > 0) webhook->mutable_rate_limit()->set_per_second(spec.per_second);
  Check(webhooks_->ConfigureWebhook(&context, request, &response), "ConfigureWebhook");
}

void ServerProcess::Publish(const v1::PublishNotificationRequest& request) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
  v1::PublishNotificationResponse response;
  Check(notifications_->PublishNotification(&context, request, &response), "PublishNotification");
  if (response.delivery_count() != 1) {
    Fail(absl::StrCat("a notification is owed to ", response.delivery_count(),
                      " webhooks instead of one"));
  }
}

int64_t ServerProcess::Metric(const std::string& name) const {
  const std::string page = Get(absl::StrCat("http://", http_address_, "/metrics"));
  for (const absl::string_view line : absl::StrSplit(page, '\n')) {
    if (absl::StartsWith(line, name) && line.size() > name.size() && line[name.size()] == ' ') {
      return static_cast<int64_t>(std::strtod(line.data() + name.size() + 1, nullptr));
    }
  }
  Fail(absl::StrCat("/metrics has no ", name));
}

void ServerProcess::WaitForOutcomes(int64_t count, int64_t timeout_ns) const {
  const int64_t until_ns = NowNs() + timeout_ns;
  while (true) {
    const int64_t recorded = Metric("postrider_outbox_outcomes_recorded_total");
    if (recorded >= count) return;
    if (NowNs() > until_ns) {
      Fail(absl::StrCat("only ", recorded, " of ", count, " outcomes were recorded in time"));
    }
    usleep(1000);
  }
}

}  // namespace postrider::bench
