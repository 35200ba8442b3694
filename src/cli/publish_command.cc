#include "src/cli/publish_command.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/json_util.h"
#include "src/cli/common_flags.h"
#include "src/cli/input.h"
#include "src/cli/output.h"

namespace postrider {
namespace {

struct PublishFlags {
  CommonFlags common;
  v1::Notification notification;
  std::string type;
  std::string model_name;
  int64_t model_id = 0;
  std::optional<std::string> json_payload;
  std::optional<std::string> run_completed;
  std::string idempotency_key;
};

// Fills in the payload. Returns what to end with when that fails.
std::optional<ClientExit> TakePayload(const PublishFlags& flags, v1::Notification* notification) {
  std::string text;
  std::optional<std::string> error = ReadArgument(
      flags.json_payload.has_value() ? *flags.json_payload : *flags.run_completed, &text);
  if (error.has_value()) {
    Complain(*error);
    return ClientExit::kNoInput;
  }
  if (flags.json_payload.has_value()) {
    notification->set_json_payload(text);
    return std::nullopt;
  }
  const auto parsed =
      google::protobuf::util::JsonStringToMessage(text, notification->mutable_run_completed());
  if (!parsed.ok()) {
    Complain(absl::StrCat("--run-completed is not a RunCompleted in JSON: ",
                          std::string(parsed.message())));
    return ClientExit::kUsage;
  }
  return std::nullopt;
}

ClientExit Publish(const PublishFlags& flags) {
  v1::PublishNotificationRequest request;
  request.set_tenant(flags.common.tenant);
  request.set_idempotency_key(flags.idempotency_key);
  v1::Notification* notification = request.mutable_notification();
  notification->set_notification_type(flags.type);
  notification->set_model_name(flags.model_name);
  notification->set_model_id(flags.model_id);
  if (std::optional<ClientExit> failed = TakePayload(flags, notification)) return *failed;

  return WithClient(flags.common, [&](Client& client) {
    v1::PublishNotificationResponse response;
    const google::rpc::Status status = client.Publish(request, &response);
    if (status.code() != 0) return Refuse(status);
    if (flags.common.json) {
      Print(MessageJson(response));
      return ClientExit::kOk;
    }
    Print(absl::StrCat(response.notification_id(), "\n"));
    if (response.duplicate()) {
      Complain("that key was published before: this is the first notification's id");
    } else if (response.delivery_count() == 0) {
      Complain("no enabled webhook wants this type: nothing will be delivered");
    }
    return ClientExit::kOk;
  });
}

}  // namespace

void AddPublishCommand(CLI::App& root, int* exit_code) {
  CLI::App* command = root.add_subcommand("publish", "Publish a notification and print its id");
  const auto flags = std::make_shared<PublishFlags>();
  AddCommonFlags(*command, &flags->common);
  command->add_option("--type", flags->type, "The notification type, as in RUN_COMPLETED")
      ->option_text("TYPE");
  command->add_option("--model-name", flags->model_name, "The model's name")->option_text("NAME");
  command->add_option("--model-id", flags->model_id, "The model's number")->option_text("N");
  CLI::Option_group* payload = command->add_option_group("Payload", "One of them is required");
  payload
      ->add_option("--json-payload", flags->json_payload,
                   "A JSON object, sent on as it is; - reads standard input")
      ->option_text("TEXT|@FILE|-");
  payload
      ->add_option("--run-completed", flags->run_completed,
                   "A postrider.v1.RunCompleted in JSON; the type may be left out")
      ->option_text("TEXT|@FILE|-");
  payload->require_option(1);
  command
      ->add_option("--idempotency-key", flags->idempotency_key,
                   "The same key again publishes nothing and prints the first id")
      ->option_text("KEY");
  command->callback([flags, exit_code] { *exit_code = static_cast<int>(Publish(*flags)); });
}

}  // namespace postrider
