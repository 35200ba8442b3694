#include "src/cli/listen_command.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "src/cli/client_exit.h"
#include "src/cli/common_flags.h"
#include "src/cli/output.h"
#include "src/cli/receiver.h"
#include "src/message/signing.h"

namespace postrider {
namespace {

struct ListenFlags {
  Receiver::Options receiver;
  std::string address = "127.0.0.1:8080";
  int64_t count = 0;
  bool json = false;
};

const char* SignatureWord(Receiver::Signature signature) {
  switch (signature) {
    case Receiver::Signature::kNotChecked:
      return "not checked";
    case Receiver::Signature::kValid:
      return "valid";
    case Receiver::Signature::kInvalid:
      return "invalid";
  }
  return "";
}

std::string RequestJson(const Receiver::Request& request) {
  std::string headers;
  for (const auto& [name, value] : request.headers) {
    absl::StrAppend(&headers, headers.empty() ? "" : ",", "{\"name\":", JsonString(name),
                    ",\"value\":", JsonString(value), "}");
  }
  return absl::StrCat("{\"number\":", request.number, ",\"time\":\"",
                      absl::FormatTime(absl::RFC3339_full, request.time, absl::UTCTimeZone()),
                      "\",\"method\":", JsonString(request.method),
                      ",\"target\":", JsonString(request.target), ",\"headers\":[", headers,
                      "],\"body\":", JsonString(request.body), ",\"signature\":\"",
                      SignatureWord(request.signature),
                      "\",\"signature_error\":", JsonString(request.signature_error),
                      ",\"status\":", request.status, "}\n");
}

std::string RequestText(const Receiver::Request& request) {
  std::string text =
      absl::StrCat("--- request ", request.number, " at ",
                   absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", request.time, absl::UTCTimeZone()),
                   "\n", Printable(request.method), " ", Printable(request.target), "\n");
  for (const auto& [name, value] : request.headers) {
    absl::StrAppend(&text, Printable(name), ": ", Printable(value), "\n");
  }
  absl::StrAppend(&text, "\n", Printable(PrettyJson(request.body)), "\n");
  absl::StrAppend(&text, "--- signature ", SignatureWord(request.signature),
                  request.signature_error.empty() ? "" : ": ", request.signature_error,
                  "; answered ", request.status, "\n\n");
  return text;
}

ClientExit Listen(ListenFlags& flags) {
  const std::optional<HostAndPort> address = ParseHostAndPort(flags.address);
  if (!address.has_value()) {
    Complain(absl::StrCat("--listen \"", flags.address,
                          "\" is not an address: write HOST:PORT, as in 127.0.0.1:8080"));
    return ClientExit::kUsage;
  }
  for (const std::string& secret : flags.receiver.secrets) {
    const absl::StatusOr<std::string> key = ParseSecret(secret);
    if (key.ok()) continue;
    Complain(absl::StrCat("--secret: ", std::string(key.status().message())));
    return ClientExit::kUsage;
  }

  // Before there are threads: they inherit it, and the signal is left for sigwait.
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGINT);
  sigaddset(&stop_signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);

  flags.receiver.address = *address;
  flags.receiver.on_request = [&flags](const Receiver::Request& request) {
    // Those that come while it is stopping are more than were asked for.
    if (flags.count > 0 && request.number > flags.count) return;
    Print(flags.json ? RequestJson(request) : RequestText(request));
    if (request.number == flags.count) kill(getpid(), SIGTERM);
  };
  auto receiver = Receiver::Start(flags.receiver);
  if (const std::string* error = std::get_if<std::string>(&receiver)) {
    Complain(*error);
    return ClientExit::kUnavailable;
  }
  const bool brackets = address->host.find(':') != std::string::npos;
  const int port = std::get<std::unique_ptr<Receiver>>(receiver)->port();
  Print(absl::StrCat("listening http://", brackets ? "[" : "", address->host, brackets ? "]" : "",
                     ":", port, "\n"));
  int signal = 0;
  sigwait(&stop_signals, &signal);
  return ClientExit::kOk;
}

}  // namespace

void AddListenCommand(CLI::App& root, int* exit_code) {
  CLI::App* command =
      root.add_subcommand("listen", "Receive webhooks and show them, for trying things out");
  const auto flags = std::make_shared<ListenFlags>();
  Receiver::Options* options = &flags->receiver;
  command->footer(kClientExitHelp);
  command->add_option("--listen", flags->address, "Where to listen; port 0 picks one")
      ->option_text("HOST:PORT [127.0.0.1:8080]");
  command
      ->add_option("--secret", options->secrets,
                   "Check signatures with this secret; repeat it for more")
      ->option_text("whsec_...")
      ->allow_extra_args(false)
      ->envname("POSTRIDER_SECRET");
  command
      ->add_option("--secret-file", options->secret_file,
                   "The same, read from this file at each request; it may come later")
      ->option_text("FILE");
  command->add_option("--status", options->status, "What to answer")
      ->option_text("N [200]")
      ->check(CLI::Range(200, 599));
  command->add_option("--fail-first", options->fail_first, "Answer 500 to the first so many")
      ->option_text("N [0]")
      ->check(CLI::NonNegativeNumber);
  AddDurationFlag(
      *command, "--delay", [options](absl::Duration value) { options->delay = value; },
      "Wait so long before each answer");
  command->add_option("--count", flags->count, "End after so many requests; 0: never")
      ->option_text("N [0]")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--json", flags->json, "Print one JSON object a line for each request");
  command->callback([flags, exit_code] { *exit_code = static_cast<int>(Listen(*flags)); });
}

}  // namespace postrider
