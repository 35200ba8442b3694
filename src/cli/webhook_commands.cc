#include "src/cli/webhook_commands.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "src/cli/common_flags.h"
#include "src/cli/input.h"
#include "src/cli/output.h"
#include "src/cli/secret_file.h"

namespace postrider {
namespace {

// What both commands can say of a receiver.
struct ReceiverFlags {
  CommonFlags common;
  v1::Webhook webhook;
  std::string name;
  std::string url;
  // Sensitive headers whose values are in files, read when the command runs.
  std::vector<HeaderFile> header_files;
};

struct ConfigureFlags : ReceiverFlags {
  bool draft = false;
  bool enable = false;
  bool disable = false;
  bool all_types = false;
  bool no_rate = false;
  bool unordered = false;
  std::string secret_file;
  std::vector<std::string> removed_headers;
  // What the flags name of the webhook.
  std::vector<std::string> paths;
};

void AddHeaderFlag(CLI::App& command, const std::string& name, bool sensitive,
                   ReceiverFlags* flags, const std::string& help) {
  command
      .add_option_function<std::vector<std::string>>(
          name,
          [flags, sensitive](const std::vector<std::string>& texts) {
            for (const std::string& text : texts) {
              const std::optional<HeaderFile> file = ParseHeaderFileText(text);
              if (sensitive && file.has_value()) {
                flags->header_files.push_back(*file);
                continue;
              }
              v1::Header* header = flags->webhook.add_headers();
              *header = *ParseHeaderText(text);
              header->set_sensitive(sensitive);
            }
          },
          help)
      ->option_text(sensitive ? "'NAME: VALUE'|NAME=@FILE ..." : "'NAME: VALUE' ...")
      ->allow_extra_args(false)
      ->check(CLI::Validator(
          [sensitive](std::string& text) {
            if (sensitive && ParseHeaderFileText(text).has_value()) return std::string();
            // The value may be a secret, and is not repeated.
            if (ParseHeaderText(text).has_value()) return std::string();
            return std::string(sensitive
                                   ? "is not a header: write NAME=@FILE, or 'NAME: VALUE' in quotes"
                                   : "is not a header: write 'NAME: VALUE', in quotes");
          },
          "'NAME: VALUE'", "header"));
}

// Adds the headers whose values are in files. Returns what went wrong.
std::optional<std::string> ReadHeaderFiles(ReceiverFlags* flags) {
  for (const HeaderFile& file : flags->header_files) {
    v1::Header* header = flags->webhook.add_headers();
    header->set_name(file.name);
    header->set_sensitive(true);
    if (auto error = ReadInput(file.path, header->mutable_value())) return error;
    // What an editor leaves at the end.
    std::string* value = header->mutable_value();
    while (!value->empty() && (value->back() == '\n' || value->back() == '\r')) value->pop_back();
    if (value->empty()) return absl::StrCat(file.path, " holds no value for ", file.name);
  }
  flags->header_files.clear();
  return std::nullopt;
}

void AddReceiverFlags(CLI::App& command, ReceiverFlags* flags) {
  AddCommonFlags(command, &flags->common);
  command.add_option("--name", flags->name, "The webhook's name")->option_text("NAME");
  command.add_option("--url", flags->url, "Where its receiver is, http or https")
      ->option_text("URL");
  AddHeaderFlag(command, "--header", false, flags, "An additional header; repeat it for more");
  AddHeaderFlag(command, "--sensitive-header", true, flags,
                "The same, but its value is never shown again; with NAME=@FILE it is read from the "
                "file, and does not stand in the list of processes");
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
  AddDurationFlag(
      command, "--max-probe-interval",
      [webhook](absl::Duration value) {
        SetDuration(value, webhook->mutable_retry_policy()->mutable_max_probe_interval());
      },
      "While the receiver fails, it is tried at least so often (1m)");
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
          "Change the webhook only if it has this etag")
      ->option_text("ETAG");
}

// What the receiver said when the gate did not open.
void ShowRefusedValidation(const google::rpc::Status& status, bool json) {
  v1::ConfigureWebhookResponse refused;
  if (!ValidationOf(status, refused.mutable_validation())) return;
  Print(json ? MessageJson(refused) : DescribeValidation(refused.validation()));
}

// The flags and the fields that they set. A header's path is added for each name.
constexpr std::pair<const char*, const char*> kPaths[] = {
    {"--url", "url"},
    {"--request-timeout", "timeout"},
    {"--type", "notification_types"},
    {"--all-types", "notification_types"},
    {"--max-concurrency", "max_concurrency"},
    {"--retry-initial", "retry_policy.initial_backoff"},
    {"--retry-multiplier", "retry_policy.multiplier"},
    {"--retry-max", "retry_policy.max_backoff"},
    {"--retry-age", "retry_policy.max_age"},
    {"--retry-attempts", "retry_policy.max_attempts"},
    {"--max-probe-interval", "retry_policy.max_probe_interval"},
    {"--rate", "rate_limit.per_second"},
    {"--burst", "rate_limit.burst"},
    {"--no-rate", "rate_limit"},
    {"--ordered", "delivery_order"},
    {"--unordered", "delivery_order"},
    {"--enable", "enabled"},
    {"--disable", "enabled"}};

bool IsNotFound(const google::rpc::Status& status) { return status.code() == 5; }

// What the flags ask for, of a webhook that is there.
v1::ConfigureWebhookRequest ChangeOf(const ConfigureFlags& flags) {
  v1::ConfigureWebhookRequest request;
  *request.mutable_webhook() = flags.webhook;
  request.mutable_webhook()->set_tenant(flags.common.tenant);
  request.mutable_webhook()->set_name(flags.name);
  request.mutable_webhook()->set_url(flags.url);
  request.mutable_webhook()->set_enabled(flags.enable);
  google::protobuf::FieldMask* mask = request.mutable_update_mask();
  for (const std::string& path : flags.paths) mask->add_paths(path);
  for (const v1::Header& header : flags.webhook.headers()) {
    mask->add_paths("headers." + header.name());
  }
  for (const std::string& name : flags.removed_headers) mask->add_paths("headers." + name);
  return request;
}

// Creates the webhook.
google::rpc::Status Create(const ConfigureFlags& flags, Client& client,
                           v1::ConfigureWebhookResponse* response) {
  v1::ConfigureWebhookRequest request = ChangeOf(flags);
  request.clear_update_mask();
  request.mutable_webhook()->set_enabled(!flags.draft && !flags.disable);
  return client.Configure(request, response);
}

// Changes what the flags name, or creates the webhook when there is none.
google::rpc::Status ChangeOrCreate(const ConfigureFlags& flags, Client& client,
                                   v1::ConfigureWebhookResponse* response) {
  const v1::ConfigureWebhookRequest request = ChangeOf(flags);
  google::rpc::Status status = client.Configure(request, response);
  if (!IsNotFound(status)) return status;
  if (!flags.url.empty() && flags.webhook.etag().empty()) return Create(flags, client, response);
  if (flags.url.empty()) status.set_message(status.message() + ": give --url to create it");
  return status;
}

ClientExit ShowConfigured(const ConfigureFlags& flags, const v1::ConfigureWebhookResponse& response,
                          SecretFile* secret_file) {
  std::string secret_line;
  if (!response.signing_secret().empty()) {
    secret_line =
        absl::StrCat("Signing secret, shown only now: ", response.signing_secret(), "\n");
    if (secret_file != nullptr) {
      if (auto error = secret_file->Add(response.signing_secret())) {
        // Nobody can ask for it again.
        Complain(*error);
        Print(secret_line);
        return ClientExit::kIo;
      }
      secret_line = absl::StrCat("Signing secret: added to ", secret_file->path(), "\n");
    }
  }
  if (flags.common.json) {
    v1::ConfigureWebhookResponse shown = response;
    if (secret_file != nullptr) shown.clear_signing_secret();
    Print(MessageJson(shown));
    return ClientExit::kOk;
  }
  std::string text = DescribeWebhook(response.webhook());
  if (response.has_validation()) {
    absl::StrAppend(&text, "The test request was answered with ",
                    response.validation().http_status(), " after ",
                    DurationPhrase(response.validation().latency()), ".\n");
  }
  Print(text + secret_line);
  if (!response.webhook().enabled() && !flags.draft && !flags.disable) {
    Complain("nothing is sent to it until --enable");
  }
  return ClientExit::kOk;
}

ClientExit Configure(ConfigureFlags& flags) {
  if (auto error = ReadHeaderFiles(&flags)) {
    Complain(*error);
    return ClientExit::kNoInput;
  }
  if (flags.draft && flags.url.empty()) {
    Complain("--draft is for a new webhook: give its --url");
    return ClientExit::kUsage;
  }
  if (!flags.draft && ChangeOf(flags).update_mask().paths().empty()) {
    Complain("say what shall change: --enable, --url and the like, see --help");
    return ClientExit::kUsage;
  }
  for (const v1::Header& header : flags.webhook.headers()) {
    for (const std::string& removed : flags.removed_headers) {
      if (!absl::EqualsIgnoreCase(header.name(), removed)) continue;
      Complain(absl::StrCat("the header ", removed, " is set and removed: do one of them"));
      return ClientExit::kUsage;
    }
  }
  std::unique_ptr<SecretFile> secret_file;
  if (!flags.secret_file.empty()) {
    if (auto error = SecretFile::Open(flags.secret_file, &secret_file)) {
      Complain(*error);
      return ClientExit::kIo;
    }
  }
  return WithClient(flags.common, [&](Client& client) {
    v1::ConfigureWebhookResponse response;
    google::rpc::Status status;
    if (flags.draft) {
      v1::GetWebhookRequest get;
      get.set_tenant(flags.common.tenant);
      get.set_name(flags.name);
      v1::GetWebhookResponse there;
      status = client.GetWebhook(get, &there);
      if (status.code() == 0) {
        Complain(absl::StrCat("webhook ", flags.name,
                              " is there already, and --draft is for a new one: --disable takes it "
                              "out of service"));
        return ClientExit::kRefused;
      }
      if (!IsNotFound(status)) return Refuse(status);
      status = Create(flags, client, &response);
    } else {
      status = ChangeOrCreate(flags, client, &response);
    }
    if (status.code() != 0) {
      ShowRefusedValidation(status, flags.common.json);
      return Refuse(status);
    }
    return ShowConfigured(flags, response, secret_file.get());
  });
}

ClientExit Validate(ReceiverFlags& flags) {
  if (auto error = ReadHeaderFiles(&flags)) {
    Complain(*error);
    return ClientExit::kNoInput;
  }
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
  CLI::App* command =
      root.add_subcommand("configure", "Create a webhook, or change what is named of it");
  const auto flags = std::make_shared<ConfigureFlags>();
  AddReceiverFlags(*command, flags.get());
  command->get_option("--name")->required();
  command
      ->add_option("--remove-header", flags->removed_headers,
                   "A header that is sent no more; repeat it for more")
      ->option_text("NAME ...")
      ->allow_extra_args(false);
  AddDeliveryFlags(*command, &flags->webhook);
  CLI::Option* all_types = command->add_flag("--all-types", flags->all_types,
                                             "It wants notifications of all types");
  all_types->excludes(command->get_option("--type"));
  CLI::Option* no_rate = command->add_flag("--no-rate", flags->no_rate,
                                           "Without a limit of requests per second");
  no_rate->excludes(command->get_option("--rate"));
  CLI::Option* ordered = command->add_flag_callback(
      "--ordered",
      [flags = flags.get()] {
        flags->webhook.set_delivery_order(v1::DELIVERY_ORDER_ORDERED);
      },
      "One delivery at a time, in the order of publishing");
  command
      ->add_flag("--unordered", flags->unordered,
                 "Several deliveries at a time (so it is unless told)")
      ->excludes(ordered);
  CLI::Option* draft = command->add_flag("--draft,--disabled", flags->draft,
                                         "Store a new one without a test request; nothing is sent "
                                         "to it until --enable");
  CLI::Option* enable = command->add_flag(
      "--enable", flags->enable, "Send the test request and take it into service; a new one is, "
                                 "unless told");
  CLI::Option* disable =
      command->add_flag("--disable", flags->disable, "Take it out of service: nothing is sent");
  draft->excludes(enable)->excludes(disable);
  enable->excludes(disable);
  command
      ->add_option("--secret-file", flags->secret_file,
                   "Add the secret of a new one to this file (mode 0600) instead of showing it")
      ->option_text("FILE");
  command->callback([command, flags, exit_code] {
    for (const auto& [flag, path] : kPaths) {
      if (command->count(flag) > 0) flags->paths.emplace_back(path);
    }
    *exit_code = static_cast<int>(Configure(*flags));
  });
}

void AddValidateCommand(CLI::App& root, int* exit_code) {
  CLI::App* command =
      root.add_subcommand("validate", "Send a webhook's test request and show what came of it");
  const auto flags = std::make_shared<ReceiverFlags>();
  AddReceiverFlags(*command, flags.get());
  command->callback([flags, exit_code] { *exit_code = static_cast<int>(Validate(*flags)); });
}

}  // namespace postrider
