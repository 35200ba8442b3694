#include "src/cli/webhook_commands.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "src/cli/common_flags.h"
#include "src/cli/input.h"
#include "src/cli/output.h"

namespace postrider {
namespace {

// What both commands can say of a receiver.
struct ReceiverFlags {
  CommonFlags common;
  v1::Webhook webhook;
  std::string name;
  std::string url;
};

struct ConfigureFlags : ReceiverFlags {
  bool draft = false;
  bool ordered = false;
};

void AddHeaderFlag(CLI::App& command, const std::string& name, bool sensitive, v1::Webhook* webhook,
                   const std::string& help) {
  command
      .add_option_function<std::vector<std::string>>(
          name,
          [webhook, sensitive](const std::vector<std::string>& texts) {
            for (const std::string& text : texts) {
              v1::Header* header = webhook->add_headers();
              *header = *ParseHeaderText(text);
              header->set_sensitive(sensitive);
            }
          },
          help)
      ->option_text("'NAME: VALUE' ...")
      ->allow_extra_args(false)
      ->check(CLI::Validator(
          [](std::string& text) {
            // The value may be a secret, and is not repeated.
            return ParseHeaderText(text).has_value()
                       ? std::string()
                       : "is not a header: write 'NAME: VALUE', in quotes";
          },
          "'NAME: VALUE'", "header"));
}

void AddReceiverFlags(CLI::App& command, ReceiverFlags* flags) {
  AddCommonFlags(command, &flags->common);
  command.add_option("--name", flags->name, "The webhook's name")->option_text("NAME");
  command.add_option("--url", flags->url, "Where its receiver is, http or https")
      ->option_text("URL");
  AddHeaderFlag(command, "--header", false, &flags->webhook,
                "An additional header; repeat it for more");
  AddHeaderFlag(command, "--sensitive-header", true, &flags->webhook,
                "The same, but its value is never shown again");
  AddDurationFlag(
      command, "--request-timeout",
      [flags](absl::Duration value) { SetDuration(value, flags->webhook.mutable_timeout()); },
      "How long one request to the receiver may take (15s)");
}

void AddDeliveryFlags(CLI::App& command, v1::Webhook* webhook) {
  command
      .add_option_function<std::vector<std::string>>(
          "--type",
          [webhook](const std::vector<std::string>& types) {
            for (const std::string& type : types) webhook->add_notification_types(type);
          },
          "A notification type that it wants; repeat it for more (all)")
      ->option_text("TYPE ...")
      ->allow_extra_args(false);
  command
      .add_option_function<int32_t>(
          "--max-concurrency", [webhook](int32_t value) { webhook->set_max_concurrency(value); },
          "Requests under way at once (16)")
      ->option_text("N");
  AddDurationFlag(
      command, "--retry-initial",
      [webhook](absl::Duration value) {
        SetDuration(value, webhook->mutable_retry_policy()->mutable_initial_backoff());
      },
      "The delay before the first retry (5s)");
  command
      .add_option_function<double>(
          "--retry-multiplier",
          [webhook](double value) { webhook->mutable_retry_policy()->set_multiplier(value); },
          "How the delay grows (3)")
      ->option_text("X");
  AddDurationFlag(
      command, "--retry-max",
      [webhook](absl::Duration value) {
        SetDuration(value, webhook->mutable_retry_policy()->mutable_max_backoff());
      },
      "The longest delay (6h)");
  AddDurationFlag(
      command, "--retry-age",
      [webhook](absl::Duration value) {
        SetDuration(value, webhook->mutable_retry_policy()->mutable_max_age());
      },
      "How long a delivery is tried (72h)");
  command
      .add_option_function<int32_t>(
          "--retry-attempts",
          [webhook](int32_t value) { webhook->mutable_retry_policy()->set_max_attempts(value); },
          "How often a delivery is tried; 0: only the age counts")
      ->option_text("N");
  CLI::Option* rate =
      command
          .add_option_function<double>(
              "--rate",
              [webhook](double value) { webhook->mutable_rate_limit()->set_per_second(value); },
              "Requests per second, on average (no limit)")
          ->option_text("N");
  command
      .add_option_function<int32_t>(
          "--burst", [webhook](int32_t value) { webhook->mutable_rate_limit()->set_burst(value); },
          "Requests that may be sent at once after a pause (1)")
      ->option_text("N")
      ->needs(rate);
  command
      .add_option_function<std::string>(
          "--etag", [webhook](const std::string& value) { webhook->set_etag(value); },
          "Replace the webhook only if it has this etag")
      ->option_text("ETAG");
}

// What the receiver said when the gate did not open.
void ShowRefusedValidation(const google::rpc::Status& status, bool json) {
  v1::ConfigureWebhookResponse refused;
  if (!ValidationOf(status, refused.mutable_validation())) return;
  Print(json ? MessageJson(refused) : DescribeValidation(refused.validation()));
}

ClientExit Configure(ConfigureFlags& flags) {
  return WithClient(flags.common, [&flags](Client& client) {
    v1::ConfigureWebhookRequest request;
    *request.mutable_webhook() = flags.webhook;
    request.mutable_webhook()->set_tenant(flags.common.tenant);
    request.mutable_webhook()->set_name(flags.name);
    request.mutable_webhook()->set_url(flags.url);
    request.mutable_webhook()->set_enabled(!flags.draft);
    if (flags.ordered) request.mutable_webhook()->set_delivery_order(v1::DELIVERY_ORDER_ORDERED);
    v1::ConfigureWebhookResponse response;
    const google::rpc::Status status = client.Configure(request, &response);
    if (status.code() != 0) {
      ShowRefusedValidation(status, flags.common.json);
      return Refuse(status);
    }
    if (flags.common.json) {
      Print(MessageJson(response));
      return ClientExit::kOk;
    }
    std::string text = DescribeWebhook(response.webhook());
    if (response.has_validation()) {
      absl::StrAppend(&text, "The test request was answered with ",
                      response.validation().http_status(), " after ",
                      DurationPhrase(response.validation().latency()), ".\n");
    }
    if (!response.signing_secret().empty()) {
      absl::StrAppend(&text, "Signing secret, shown only now: ", response.signing_secret(), "\n");
    }
    Print(text);
    return ClientExit::kOk;
  });
}

ClientExit Validate(const ReceiverFlags& flags) {
  if (flags.url.empty() == flags.name.empty()) {
    Complain("give --name to test a stored webhook, or --url to test one without storing it");
    return ClientExit::kUsage;
  }
  if (flags.url.empty() && (flags.webhook.headers_size() > 0 || flags.webhook.has_timeout())) {
    Complain("--name tests the webhook as it is stored: give headers and timeout with --url");
    return ClientExit::kUsage;
  }
  return WithClient(flags.common, [&flags](Client& client) {
    v1::ValidateWebhookRequest request;
    if (flags.url.empty()) {
      request.mutable_ref()->set_tenant(flags.common.tenant);
      request.mutable_ref()->set_name(flags.name);
    } else {
      *request.mutable_webhook() = flags.webhook;
      request.mutable_webhook()->set_tenant(flags.common.tenant);
      request.mutable_webhook()->set_url(flags.url);
    }
    v1::ValidateWebhookResponse response;
    const google::rpc::Status status = client.Validate(request, &response);
    if (status.code() != 0) return Refuse(status);
    Print(flags.common.json ? MessageJson(response) : DescribeValidation(response.validation()));
    return response.validation().valid() ? ClientExit::kOk : ClientExit::kRefused;
  });
}

}  // namespace

void AddConfigureCommand(CLI::App& root, int* exit_code) {
  CLI::App* command = root.add_subcommand("configure", "Create a webhook, or replace it");
  const auto flags = std::make_shared<ConfigureFlags>();
  AddReceiverFlags(*command, flags.get());
  command->get_option("--name")->required();
  command->get_option("--url")->required();
  AddDeliveryFlags(*command, &flags->webhook);
  command->add_flag("--draft,--disabled", flags->draft,
                    "Store it without a test request; nothing is sent to it");
  command->add_flag("--ordered", flags->ordered,
                    "One delivery at a time, in the order of publishing");
  command->callback([flags, exit_code] { *exit_code = static_cast<int>(Configure(*flags)); });
}

void AddValidateCommand(CLI::App& root, int* exit_code) {
  CLI::App* command =
      root.add_subcommand("validate", "Send a webhook's test request and show what came of it");
  const auto flags = std::make_shared<ReceiverFlags>();
  AddReceiverFlags(*command, flags.get());
  command->callback([flags, exit_code] { *exit_code = static_cast<int>(Validate(*flags)); });
}

}  // namespace postrider
