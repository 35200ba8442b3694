#include "src/cli/common_flags.h"

#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "src/cli/input.h"
#include "src/cli/output.h"

namespace postrider {

void AddCommonFlags(CLI::App& command, CommonFlags* flags) {
  ClientOptions& connection = flags->connection;
  command.footer(kClientExitHelp);
  command.add_option("--server", connection.server, "The server's gRPC address")
      ->option_text("HOST:PORT [127.0.0.1:7411]")
      ->envname("POSTRIDER_SERVER");
  command.add_option("--tenant", flags->tenant, "The owner of the webhooks")
      ->option_text("NAME [default]")
      ->envname("POSTRIDER_TENANT");
  AddDurationFlag(
      command, "--timeout", [&connection](absl::Duration value) { connection.timeout = value; },
      "How long the whole call may take, as in 30s or 2m")
      ->option_text("DURATION [30s]")
      ->envname("POSTRIDER_TIMEOUT");
  command.add_flag("--json", flags->json, "Print JSON, one object a line");
  command.add_flag("--tls", connection.tls, "Speak TLS, trusting the system's authorities");
  command.add_option("--tls-ca", connection.tls_ca, "Speak TLS, trusting these authorities (PEM)")
      ->option_text("FILE")
      ->envname("POSTRIDER_TLS_CA");
  command.add_option("--client-cert", connection.client_cert, "Our certificate chain (PEM)")
      ->option_text("FILE")
      ->envname("POSTRIDER_CLIENT_CERT");
  command.add_option("--client-key", connection.client_key, "Its private key (PEM)")
      ->option_text("FILE")
      ->envname("POSTRIDER_CLIENT_KEY");
  command.add_flag("--insecure", connection.insecure, "Without TLS, even beyond loopback");
}

CLI::Option* AddDurationFlag(CLI::App& command, const std::string& name,
                             std::function<void(absl::Duration)> take, const std::string& help) {
  return command
      .add_option_function<std::string>(
          name,
          [take = std::move(take)](const std::string& text) { take(*ParseDurationText(text)); },
          help)
      ->option_text("DURATION")
      ->check(CLI::Validator(
          [](std::string& text) {
            return ParseDurationText(text).has_value()
                       ? std::string()
                       : absl::StrCat("\"", text,
                                      "\" is not a duration: write 250ms, 30s, 5m, 72h or 7d");
          },
          "DURATION", "duration"));
}

ClientExit WithClient(const CommonFlags& flags, const std::function<ClientExit(Client&)>& call) {
  auto client = Client::Create(flags.connection);
  if (const auto* refusal = std::get_if<Client::Refusal>(&client)) {
    Complain(refusal->sentence);
    return refusal->exit;
  }
  return call(*std::get<std::unique_ptr<Client>>(client));
}

ClientExit Refuse(const google::rpc::Status& status) {
  Complain(DescribeError(status));
  return ExitOf(status);
}

}  // namespace postrider
