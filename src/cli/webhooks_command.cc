#include "src/cli/webhooks_command.h"

#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "src/cli/common_flags.h"
#include "src/cli/output.h"
#include "src/cli/secret_file.h"

namespace postrider {
namespace {

constexpr int kPageSize = 1000;

struct WebhooksFlags {
  CommonFlags common;
  std::string name;
  std::optional<absl::Duration> overlap;
  std::string secret_file;
};

std::string Row(const v1::Webhook& webhook) {
  std::string state = webhook.enabled() ? "enabled" : "not enabled";
  if (!webhook.disabled_reason().empty()) state = "disabled";
  return absl::StrFormat("%-30s %-12s %-12s %s\n", webhook.name(), state,
                         ValidationPhrase(webhook.validation_state()), Printable(webhook.url()));
}

ClientExit List(const WebhooksFlags& flags) {
  return WithClient(flags.common, [&flags](Client& client) {
    v1::ListWebhooksRequest request;
    request.set_tenant(flags.common.tenant);
    request.set_page_size(kPageSize);
    bool first = true;
    do {
      v1::ListWebhooksResponse response;
      const google::rpc::Status status = client.ListWebhooks(request, &response);
      if (status.code() != 0) return Refuse(status);
      std::string text;
      if (first && !flags.common.json && response.webhooks_size() > 0) {
        text = absl::StrFormat("%-30s %-12s %-12s %s\n", "NAME", "STATE", "VALIDATION", "URL");
        first = false;
      }
      for (const v1::Webhook& webhook : response.webhooks()) {
        text += flags.common.json ? MessageJson(webhook) : Row(webhook);
      }
      Print(text);
      request.set_page_token(response.next_page_token());
    } while (!request.page_token().empty());
    return ClientExit::kOk;
  });
}

ClientExit Get(const WebhooksFlags& flags) {
  return WithClient(flags.common, [&flags](Client& client) {
    v1::GetWebhookRequest request;
    request.set_tenant(flags.common.tenant);
    request.set_name(flags.name);
    v1::GetWebhookResponse response;
    const google::rpc::Status status = client.GetWebhook(request, &response);
    if (status.code() != 0) return Refuse(status);
    Print(flags.common.json ? MessageJson(response) : DescribeWebhook(response.webhook()));
    return ClientExit::kOk;
  });
}

ClientExit RotateSecret(const WebhooksFlags& flags) {
  std::unique_ptr<SecretFile> secret_file;
  if (!flags.secret_file.empty()) {
    if (auto error = SecretFile::Open(flags.secret_file, &secret_file)) {
      Complain(*error);
      return ClientExit::kIo;
    }
  }
  return WithClient(flags.common, [&](Client& client) {
    v1::RotateSigningSecretRequest request;
    request.set_tenant(flags.common.tenant);
    request.set_name(flags.name);
    if (flags.overlap.has_value()) SetDuration(*flags.overlap, request.mutable_overlap());
    v1::RotateSigningSecretResponse response;
    const google::rpc::Status status = client.RotateSigningSecret(request, &response);
    if (status.code() != 0) return Refuse(status);
    if (secret_file != nullptr) {
      const std::optional<std::string> error = secret_file->Add(response.signing_secret());
      if (!error.has_value()) {
        Print(absl::StrCat("Signing secret: added to ", secret_file->path(), "\n"));
        return ClientExit::kOk;
      }
      // Nobody can ask for it again.
      Complain(*error);
      Print(absl::StrCat("Signing secret, shown only now: ", response.signing_secret(), "\n"));
      return ClientExit::kIo;
    }
    if (flags.common.json) {
      Print(MessageJson(response));
      return ClientExit::kOk;
    }
    Print(absl::StrCat("Signing secret, shown only now: ", response.signing_secret(), "\n"));
    return ClientExit::kOk;
  });
}

}  // namespace

void AddWebhooksCommand(CLI::App& root, int* exit_code) {
  CLI::App* command = root.add_subcommand("webhooks", "List the webhooks of a tenant, by name");
  const auto flags = std::make_shared<WebhooksFlags>();
  AddCommonFlags(*command, &flags->common);
  command->add_subcommand("list", "The same")->fallthrough();
  CLI::App* get = command->add_subcommand("get", "Show one webhook");
  CLI::App* rotate = command->add_subcommand(
      "rotate-secret", "Give a webhook a new signing secret, which is shown only now");
  for (CLI::App* one : {get, rotate}) {
    one->add_option("name", flags->name, "The webhook's name")->option_text("NAME")->required();
    // The flags of the connection may stand after the name.
    one->fallthrough();
  }
  AddDurationFlag(
      *rotate, "--overlap", [flags = flags.get()](absl::Duration value) { flags->overlap = value; },
      "How long the former secret signs along; 0s: not at all")
      ->option_text("DURATION [24h]");
  rotate
      ->add_option("--secret-file", flags->secret_file,
                   "Add it to this file (mode 0600) instead of showing it")
      ->option_text("FILE");
  command->require_subcommand(0, 1);
  command->callback([get, rotate, flags, exit_code] {
    const ClientExit exit = get->parsed()      ? Get(*flags)
                            : rotate->parsed() ? RotateSecret(*flags)
                                               : List(*flags);
    *exit_code = static_cast<int>(exit);
  });
}

}  // namespace postrider
