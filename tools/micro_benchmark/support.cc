#include "tools/micro_benchmark/support.h"

#include <cstdio>
#include <cstdlib>

namespace postrider::micro {
namespace {

constexpr size_t kBodyBytes = 600;
constexpr std::string_view kBeforePayload = "\"payload\":";

RunCompletedPayload MakeRun() {
  RunCompletedPayload run;
  run.started_at = absl::FromUnixSeconds(1769862600);
  run.status = "SUCCEEDED";
  run.performance_alerts = {{"psi", {"age", "income"}}};
  run.other_alerts = {{"drift", {"tenure"}}};
  run.success = {"accuracy", "recall", "precision"};
  run.report_link = "https://example.com/reports/2026/01/31/churn-model/";
  const size_t size = RenderBody(TheHeader(), run).size();
  Require(size <= kBodyBytes, "the run is too long for its body");
  run.report_link.append(kBodyBytes - size, '7');
  return run;
}

Webhook MakeWebhook() {
  Webhook webhook;
  webhook.name = "receiver";
  webhook.url = "http://receiver.test/hook";
  webhook.headers = {{"Authorization", "Bearer 0123456789abcdef0123456789abcdef", true},
                     {"X-Environment", "production"},
                     {"X-Team", "model-monitoring"},
                     {"X-Region", "eu-central-1"},
                     {"X-Correlation-Source", "postrider-bench"}};
  webhook.enabled = true;
  webhook.secrets = {{std::string(32, 'k')}};
  return webhook;
}

}  // namespace

const BodyHeader& TheHeader() {
  static const auto* const header = new BodyHeader{"churn-model", 42, "RUN_COMPLETED"};
  return *header;
}

const RunCompletedPayload& TheRun() {
  static const auto* const run = new RunCompletedPayload(MakeRun());
  return *run;
}

const std::string& TheBody() {
  static const auto* const body = new std::string(RenderBody(TheHeader(), TheRun()));
  return *body;
}

std::string_view ThePayload() {
  std::string_view payload = TheBody();
  payload.remove_prefix(payload.find(kBeforePayload) + kBeforePayload.size());
  payload.remove_suffix(1);
  return payload;
}

const Webhook& TheWebhook() {
  static const auto* const webhook = new Webhook(MakeWebhook());
  return *webhook;
}

void Require(bool holds, std::string_view what) {
  if (holds) return;
  std::fprintf(stderr, "postrider-micro-bench: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

}  // namespace postrider::micro
