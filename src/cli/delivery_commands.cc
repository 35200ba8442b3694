#include "src/cli/delivery_commands.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "src/cli/common_flags.h"
#include "src/cli/input.h"
#include "src/cli/output.h"

namespace postrider {
namespace {

// The server's largest page.
constexpr int kPageSize = 1000;

struct DeliveriesFlags {
  CommonFlags common;
  v1::ListDeliveriesRequest filter;
  int limit = 50;
  std::string id;
};

std::string LastOutcome(const v1::Delivery& delivery) {
  if (!delivery.last_error().empty()) return Printable(delivery.last_error());
  if (delivery.last_http_status() != 0) return absl::StrCat("HTTP ", delivery.last_http_status());
  return "-";
}

// As in `probing until 2026-01-25T14:04:10Z`.
std::string HoldPhrase(const v1::Hold& hold) {
  std::string text =
      EnumPhrase(v1::HoldReason_Name(hold.reason()), "HOLD_REASON_", "for another reason");
  if (hold.has_until_time()) {
    absl::StrAppend(&text, " until ", TimePhrase(true, hold.until_time()));
  }
  return text;
}

std::string LastColumn(const v1::Delivery& delivery) {
  const std::string outcome = LastOutcome(delivery);
  if (!delivery.has_hold()) return outcome;
  const std::string held = absl::StrCat("held back: ", HoldPhrase(delivery.hold()));
  return outcome == "-" ? held : absl::StrCat(held, "; ", outcome);
}

std::string Row(const v1::Delivery& delivery) {
  return absl::StrFormat("%-28s %-10s %-20s %-20s %8d  %-25s %s\n", delivery.delivery_id(),
                         StateText(delivery.state()), delivery.webhook_name(),
                         delivery.notification_type(), delivery.attempt_count(),
                         TimePhrase(delivery.has_create_time(), delivery.create_time()),
                         LastColumn(delivery));
}

std::string Describe(const v1::Delivery& delivery) {
  std::string text =
      absl::StrFormat("delivery %s: %s\n", delivery.delivery_id(), StateText(delivery.state()));
  const auto line = [&text](const char* name, const std::string& value) {
    absl::StrAppendFormat(&text, "  %-14s %s\n", name, value);
  };
  line("tenant", delivery.tenant());
  line("webhook", delivery.webhook_name());
  line("notification", delivery.notification_id());
  line("type", delivery.notification_type());
  line("attempts", absl::StrCat(delivery.attempt_count()));
  line("created", TimePhrase(delivery.has_create_time(), delivery.create_time()));
  if (delivery.has_next_attempt_time()) {
    line("next attempt", TimePhrase(true, delivery.next_attempt_time()));
  }
  if (delivery.has_hold()) {
    const v1::Hold& hold = delivery.hold();
    line("held back", HoldPhrase(hold));
    if (hold.has_start_time()) line("  since", TimePhrase(true, hold.start_time()));
    if (!hold.detail().empty()) line("  because", Printable(hold.detail()));
  }
  if (delivery.has_end_time()) line("ended", TimePhrase(true, delivery.end_time()));
  line("last outcome", LastOutcome(delivery));
  return text;
}

std::string Describe(const v1::Attempt& attempt) {
  std::string text = absl::StrFormat(
      "  attempt %d  %s  %s  %s\n", attempt.number(),
      TimePhrase(attempt.has_start_time(), attempt.start_time()), DurationPhrase(attempt.latency()),
      attempt.http_status() != 0 ? absl::StrCat("HTTP ", attempt.http_status()) : "no answer");
  if (!attempt.error().empty()) text += Indent(Printable(attempt.error()), "    ");
  if (!attempt.response_body().empty()) {
    text += Indent(Printable(attempt.response_body()), "    | ");
  }
  return text;
}

ClientExit List(const DeliveriesFlags& flags) {
  return WithClient(flags.common, [&flags](Client& client) {
    v1::ListDeliveriesRequest request = flags.filter;
    request.set_tenant(flags.common.tenant);
    int left = flags.limit;
    bool first = true;
    while (left > 0) {
      request.set_page_size(std::min(left, kPageSize));
      v1::ListDeliveriesResponse response;
      const google::rpc::Status status = client.ListDeliveries(request, &response);
      if (status.code() != 0) return Refuse(status);
      std::string text;
      if (first && !flags.common.json && response.deliveries_size() > 0) {
        text = absl::StrFormat("%-28s %-10s %-20s %-20s %8s  %-25s %s\n", "ID", "STATE", "WEBHOOK",
                               "TYPE", "ATTEMPTS", "CREATED", "LAST");
        first = false;
      }
      for (const v1::Delivery& delivery : response.deliveries()) {
        text += flags.common.json ? MessageJson(delivery) : Row(delivery);
      }
      Print(text);
      left -= response.deliveries_size();
      if (response.next_page_token().empty()) return ClientExit::kOk;
      request.set_page_token(response.next_page_token());
    }
    Complain(absl::StrCat("there are more: --limit ", flags.limit, " was reached"));
    return ClientExit::kOk;
  });
}

ClientExit Get(const DeliveriesFlags& flags) {
  return WithClient(flags.common, [&flags](Client& client) {
    v1::GetDeliveryRequest request;
    request.set_tenant(flags.common.tenant);
    request.set_delivery_id(flags.id);
    v1::GetDeliveryResponse response;
    const google::rpc::Status status = client.GetDelivery(request, &response);
    if (status.code() != 0) return Refuse(status);
    if (flags.common.json) {
      Print(MessageJson(response));
      return ClientExit::kOk;
    }
    std::string text = Describe(response.delivery());
    for (const v1::Attempt& attempt : response.attempts()) text += Describe(attempt);
    Print(text);
    return ClientExit::kOk;
  });
}

ClientExit Retry(const DeliveriesFlags& flags) {
  return WithClient(flags.common, [&flags](Client& client) {
    v1::RetryDeliveryRequest request;
    request.set_tenant(flags.common.tenant);
    request.set_delivery_id(flags.id);
    v1::RetryDeliveryResponse response;
    const google::rpc::Status status = client.RetryDelivery(request, &response);
    if (status.code() != 0) return Refuse(status);
    Print(flags.common.json ? MessageJson(response) : Describe(response.delivery()));
    return ClientExit::kOk;
  });
}

void AddTimeFlag(CLI::App& command, const std::string& name,
                 std::function<google::protobuf::Timestamp*()> target, const std::string& help) {
  command
      .add_option_function<std::string>(
          name,
          [target = std::move(target)](const std::string& text) {
            SetTime(*ParseTimeText(text, absl::Now()), target());
          },
          help)
      ->option_text("TIME")
      ->check(CLI::Validator(
          [](std::string& text) {
            return ParseTimeText(text, absl::Now()).has_value()
                       ? std::string()
                       : absl::StrCat("\"", text,
                                      "\" is not a time: write 2026-01-25T14:00:00Z, or 2h for two "
                                      "hours ago");
          },
          "TIME", "time"));
}

void AddFilterFlags(CLI::App& command, DeliveriesFlags* flags) {
  v1::ListDeliveriesRequest* filter = &flags->filter;
  command
      .add_option_function<std::string>(
          "--webhook", [filter](const std::string& name) { filter->set_webhook_name(name); },
          "Only this webhook's")
      ->option_text("NAME");
  command
      .add_option_function<std::string>(
          "--notification", [filter](const std::string& id) { filter->set_notification_id(id); },
          "Only this notification's")
      ->option_text("ID");
  command
      .add_option_function<std::string>(
          "--state",
          [filter](const std::string& text) { filter->set_state(*ParseStateText(text)); },
          "Only those that are pending, delivered, dead or cancelled")
      ->option_text("STATE")
      ->check(CLI::IsMember({"pending", "delivered", "dead", "cancelled"}));
  AddTimeFlag(
      command, "--since", [filter] { return filter->mutable_start_time(); },
      "Only those created since, as in 2026-01-25T14:00:00Z or 2h (ago)");
  AddTimeFlag(
      command, "--until", [filter] { return filter->mutable_end_time(); },
      "Only those created before");
  command.add_option("--limit", flags->limit, "At most so many")
      ->option_text("N [50]")
      ->check(CLI::Range(1, 1000000));
}

}  // namespace

void AddDeliveriesCommand(CLI::App& root, int* exit_code) {
  CLI::App* command = root.add_subcommand("deliveries", "List deliveries, the newest first");
  const auto flags = std::make_shared<DeliveriesFlags>();
  AddCommonFlags(*command, &flags->common);
  AddFilterFlags(*command, flags.get());
  CLI::App* get = command->add_subcommand("get", "Show one delivery with its attempts");
  CLI::App* retry =
      command->add_subcommand("retry", "Make a delivery due at once, with a fresh budget");
  for (CLI::App* one : {get, retry}) {
    one->add_option("id", flags->id, "The delivery's id")->option_text("ID")->required();
    // The flags of the connection may stand after the id.
    one->fallthrough();
  }
  command->require_subcommand(0, 1);
  command->callback([command, get, retry, flags, exit_code] {
    if (!get->parsed() && !retry->parsed()) {
      *exit_code = static_cast<int>(List(*flags));
      return;
    }
    for (const char* filter :
         {"--webhook", "--notification", "--state", "--since", "--until", "--limit"}) {
      if (command->count(filter) == 0) continue;
      Complain(absl::StrCat(filter, " is for the list of deliveries: get and retry take an id"));
      *exit_code = static_cast<int>(ClientExit::kUsage);
      return;
    }
    *exit_code = static_cast<int>(get->parsed() ? Get(*flags) : Retry(*flags));
  });
}

}  // namespace postrider
