#include "src/server/config/config.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <regex>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "src/base/durations.h"
#include "src/base/host_port.h"
#include "src/base/processors.h"
#include "src/base/sizes.h"
#include "src/server/config/config_file.h"
#include "src/server/config/read_file.h"

namespace postrider {
namespace {

constexpr char kEnvironmentPrefix[] = "POSTRIDER_";
constexpr size_t kMaxLinkBytes = 256;
constexpr char kDataDir[] = "/var/lib/postrider";
// Longer drains would be cut off by any supervisor, and longer retention is a mistake of units.
constexpr absl::Duration kMaxDrain = absl::Hours(1);
// protobuf cannot hold more than 2 GiB, and gRPC takes 16 MiB.
constexpr uint64_t kMaxNotificationBytes = uint64_t{8} << 20;
constexpr int kMaxPumpThreads = 64;
constexpr size_t kMaxHttpCount = 1'000'000;
constexpr size_t kMaxQueued = 10'000'000;
constexpr uint64_t kMinHttpHeldBytes = uint64_t{1} << 20;
// What a request holds before anybody has looked at it.
constexpr uint64_t kMaxHttpHeaderBytes = uint64_t{1} << 20;
constexpr int kMaxConnections = 1'000'000;
constexpr int kMaxCalls = 1'000'000;
constexpr uint64_t kMaxAnswerBytes = uint64_t{1} << 40;
constexpr uint64_t kMinAnswerBytes = uint64_t{4} << 20;
constexpr absl::Duration kMaxHandshake = absl::Minutes(10);

std::string VariableOf(const std::string& flag) {
  return kEnvironmentPrefix + absl::AsciiStrToUpper(absl::StrReplaceAll(flag, {{"-", "_"}}));
}

// The long names of the command's flags, but for --help.
std::set<std::string> FlagsOf(const CLI::App& app) {
  std::set<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      if (name != "help" && name != "version") names.insert(name);
    }
  }
  return names;
}

// Sets what the command line has left unset. CLI11's own reading of environment and file is not
// used: in 2.1 the file would win over the environment.
std::optional<std::string> Assign(CLI::App& app, const std::string& flag,
                                  const std::vector<std::string>& values) {
  CLI::Option* option = app.get_option("--" + flag);
  try {
    option->add_result(values);
    option->run_callback();
  } catch (const CLI::Error& error) {
    return std::string(error.what());
  }
  return std::nullopt;
}

CLI::Validator DurationValidator() {
  return CLI::Validator(
      [](std::string& text) {
        return ParseDurationText(text).has_value()
                   ? std::string()
                   : absl::StrCat("\"", text, "\" is not a duration: write 30s, 5m, 72h or 7d");
      },
      "DURATION", "duration");
}

CLI::Validator SizeValidator() {
  return CLI::Validator(
      [](std::string& text) {
        return ParseSizeFlag(text).has_value()
                   ? std::string()
                   : absl::StrCat("\"", text, "\" is not a size: write 262144, 256KiB or 10GB");
      },
      "SIZE", "size");
}

CLI::Validator AddressValidator() {
  return CLI::Validator(
      [](std::string& text) {
        return ParseHostPort(text).has_value()
                   ? std::string()
                   : absl::StrCat("\"", text,
                                  "\" is not an address: write HOST:PORT, as in 127.0.0.1:7411 or "
                                  "[::1]:0");
      },
      "HOST:PORT", "address");
}

// Kubernetes sets these for each Service of a pod's namespace, under the Service's name: here for
// one that is named postrider, or begins so. Name and value must both fit.
bool IsServiceLink(const std::string& name, const std::string& value) {
  static const std::regex& address = *new std::regex("(tcp|udp|sctp)://.*:[0-9]+");
  static const std::regex& number = *new std::regex("[0-9]+");
  static const std::regex& of_port = *new std::regex(".*_PORT_[0-9]+_(TCP|UDP|SCTP)");
  static const std::regex& part_of_port =
      *new std::regex(".*_PORT_[0-9]+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR)");
  static const std::regex& service_port = *new std::regex(".*_SERVICE_PORT(_[A-Z0-9_]+)?");
  if (absl::EndsWith(name, "_SERVICE_HOST")) return true;
  if (value.size() > kMaxLinkBytes) return false;
  if (std::regex_match(name, service_port)) return std::regex_match(value, number);
  if (absl::EndsWith(name, "_PORT") && std::regex_match(value, address)) return true;
  if (std::regex_match(name, of_port)) return std::regex_match(value, address);
  return std::regex_match(name, part_of_port);
}

// Where packages, units and the image keep the data.
const char* DefaultDataDir() {
  return access(kDataDir, W_OK | X_OK) == 0 ? kDataDir : "";
}

// What --help shows of a flag that says nothing itself.
void DescribeValue(CLI::Option* option) {
  if (option->get_expected_max() == 0 || !option->get_option_text().empty()) return;
  const std::string type = option->get_type_name();
  const bool number = type.find("INT") != std::string::npos;
  const std::string shown = option->get_default_str();
  option->option_text(
      absl::StrCat(number ? "N" : "TEXT", shown.empty() ? "" : absl::StrCat(" [", shown, "]")));
}

Failure Usage(std::string message) { return {ExitCode::kUsage, std::move(message)}; }
Failure BadConfig(std::string message) { return {ExitCode::kConfig, std::move(message)}; }

}  // namespace

int DefaultPumpThreads(int processors) {
  return std::clamp(std::max(processors / 2, 2), 1, std::clamp(processors, 1, kMaxPumpThreads));
}

ServeFlags::ServeFlags(CLI::App& root) : root_(root) {
  config_.pump_threads = DefaultPumpThreads(UsableProcessors());
  serve_ = root_.add_subcommand("serve", "Take notifications and deliver them");
  serve_->footer(std::string("Every flag can be set by an environment variable too (") +
                 "POSTRIDER_DATA_DIR for --data-dir) or by a key of the same name in the file that "
                 "--config names. The command line wins over the environment, the environment over "
                 "the file.\n\n" +
                 kExitCodesHelp);
  serve_->option_defaults()->always_capture_default();
  serve_->add_option("--config", config_path_, "A TOML file with the flags' names as keys")
      ->option_text("FILE");
  serve_
      ->add_option("--data-dir", config_.data_dir,
                   "Where the outbox is kept; required, unless /var/lib/postrider is there and "
                   "writable")
      ->option_text("DIR");
  serve_->add_option("--listen", config_.listen, "Where gRPC is served; port 0 picks one")
      ->option_text(absl::StrCat("HOST:PORT [", config_.listen, "]"))
      ->check(AddressValidator());
  serve_
      ->add_option("--http-listen", config_.http_listen,
                   "Where /metrics, /healthz and /readyz are served")
      ->option_text(absl::StrCat("HOST:PORT [", config_.http_listen, "]"))
      ->check(AddressValidator());
  serve_
      ->add_option("--allow-network", config_.allow_networks,
                   "A network of receivers that is refused by default (loopback, private, "
                   "link-local), as in 10.0.0.0/8; repeat it or separate by commas")
      ->delimiter(',')
      ->option_text("CIDR");
  serve_->add_flag("--insecure", config_.insecure,
                   "Serve beyond loopback without TLS, on both addresses");
  serve_->add_option("--tls-cert", config_.tls_cert, "The certificate chain for gRPC, PEM")
      ->option_text("FILE");
  serve_->add_option("--tls-key", config_.tls_key, "Its private key, PEM")->option_text("FILE");
  serve_
      ->add_option("--tls-client-ca", config_.tls_client_ca,
                   "Take only clients with a certificate of this authority, PEM")
      ->option_text("FILE");
  serve_
      ->add_option("--grpc-max-connections", config_.grpc_max_connections,
                   "Connections of callers in all; 0: a quarter of the open files, at most 16384")
      ->check(CLI::Range(0, kMaxConnections));
  serve_
      ->add_option("--grpc-max-connections-per-peer", config_.grpc_max_connections_per_peer,
                   "Connections of one address; 0: half of all")
      ->check(CLI::Range(0, kMaxConnections));
  serve_
      ->add_option("--grpc-max-calls", config_.grpc_max_calls,
                   "Calls under way in all; tenants and addresses share them")
      ->check(CLI::Range(64, kMaxCalls));
  AddSize("--grpc-max-answer-bytes", &config_.grpc_max_answer_bytes, "256MiB",
          "What answers may hold in all until they are on the wire; shared in the same way");
  AddDuration("--grpc-handshake-timeout", &config_.grpc_handshake_timeout, "10s",
              "A caller that has not spoken TLS and HTTP/2 by then is closed");
  AddDuration("--drain-timeout", &config_.drain_timeout, "10s",
              "How long a stop waits for requests under way");
  AddSize("--max-notification-bytes", &config_.max_notification_bytes, "256KiB",
          "The largest JSON body of a notification");
  AddSize("--max-outbox-bytes", &config_.max_outbox_bytes, "16GiB",
          "Publishes are refused when the outbox has grown to this");
  AddSize("--min-free-bytes", &config_.min_free_bytes, "256MiB",
          "Publishes are refused when the disk has less room than this");
  AddSize("--max-attempt-bytes", &config_.max_attempt_bytes, "2GiB",
          "What the records of failed attempts may take: the oldest answers go first");
  AddSize("--max-tenant-attempt-bytes", &config_.max_tenant_attempt_bytes, "1GiB",
          "What those of one tenant may take");
  AddSize("--max-queue-bytes", &config_.max_queue_bytes, "64MiB",
          "What may wait for the disk, and what the pumps hold in all of what is owed");
  serve_
      ->add_option("--max-queued-writes", config_.max_queued_writes,
                   "Calls that may wait for the disk to store something")
      ->check(CLI::Range(size_t{1}, kMaxQueued));
  serve_
      ->add_option("--max-queued-reads", config_.max_queued_reads,
                   "Calls that may wait for the disk to read something")
      ->check(CLI::Range(size_t{1}, kMaxQueued));
  AddDuration("--retention", &config_.retention, "168h",
              "How long notifications are kept, and longer while they are owed");
  serve_
      ->add_option("--pump-threads", config_.pump_threads,
                   "Threads that deliver; by default half the processors that it may use, but two "
                   "of two or three")
      ->check(CLI::Range(1, kMaxPumpThreads));
  AddHttpLimits();
  serve_->add_option("--log-level", config_.log_level, "What is logged, and all above it")
      ->option_text("debug|info|warn|error [info]")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}));
  serve_->add_option("--log-format", config_.log_format, "key=value lines, or JSON lines")
      ->option_text("text|json [text]")
      ->check(CLI::IsMember({"text", "json"}));
  for (CLI::Option* option : serve_->get_options()) DescribeValue(option);
}

void ServeFlags::AddHttpLimits() {
  HttpServerLimits& limits = config_.http_limits;
  const auto add_count = [this](const std::string& name, size_t* target, size_t least,
                                const std::string& help) {
    serve_->add_option(name, *target, help)->check(CLI::Range(least, kMaxHttpCount));
  };
  add_count("--http-max-connections", &limits.max_connections, 1,
            "Connections to --http-listen, beside those in reserve");
  add_count("--http-max-peer-connections", &limits.max_peer_connections, 1,
            "Of one address (IPv6: of one network of 64 bits)");
  add_count("--http-reserved-connections", &limits.reserved_connections, 1,
            "Connections beyond both bounds, for /healthz and /readyz");
  AddDuration("--http-request-timeout", &limits.request_timeout, "30s",
              "For a whole request and the reading of its answer");
  AddDuration("--http-idle-timeout", &limits.idle_timeout, "75s",
              "How long a connection is kept for the next request");
  add_count("--http-max-headers", &limits.max_headers, 1, "Header lines of a request");
  AddSize("--http-max-header-bytes", &http_max_header_bytes_, "16KiB", "Their size");
  AddSize("--http-max-held-bytes", &http_max_held_bytes_, "64MiB",
          "What bodies and answers may hold in memory in all");
}

void ServeFlags::AddDuration(const std::string& name, absl::Duration* target,
                             const std::string& shown, const std::string& help) {
  serve_
      ->add_option_function<std::string>(
          name, [target](const std::string& text) { *target = *ParseDurationText(text); }, help)
      ->check(DurationValidator())
      ->option_text(absl::StrCat("DURATION [", shown, "]"))
      ->default_str(shown);
}

void ServeFlags::AddSize(const std::string& name, uint64_t* target, const std::string& shown,
                         const std::string& help) {
  serve_
      ->add_option_function<std::string>(
          name, [target](const std::string& text) { *target = *ParseSizeFlag(text); }, help)
      ->check(SizeValidator())
      ->option_text(absl::StrCat("SIZE [", shown, "]"))
      ->default_str(shown);
}

std::optional<Failure> ServeFlags::Finish(const std::vector<std::string>& environment) {
  if (std::optional<Failure> failure = ApplyEnvironment(environment)) return failure;
  if (std::optional<Failure> failure = ApplyFile()) return failure;
  if (config_.data_dir.empty()) config_.data_dir = DefaultDataDir();
  config_.http_limits.max_header_bytes = static_cast<size_t>(http_max_header_bytes_);
  config_.http_limits.max_held_bytes = static_cast<size_t>(http_max_held_bytes_);
  return Check();
}

std::vector<Setting> ServeFlags::settings() const {
  std::vector<Setting> settings;
  for (const CLI::Option* option : serve_->get_options()) {
    const std::string& flag = option->get_lnames().front();
    if (flag == "help") continue;
    const auto source = sources_.find(flag);
    const bool given = option->count() > 0;
    std::string value = given ? absl::StrJoin(option->results(), ",") : option->get_default_str();
    if (flag == "data-dir") value = config_.data_dir;
    if (value == "[]") value = "";
    if (!given && option->get_expected_max() == 0) value = "false";
    settings.push_back({flag, std::move(value),
                        source != sources_.end() ? source->second : given ? "flag" : ""});
  }
  return settings;
}

std::optional<Failure> ServeFlags::ApplyEnvironment(const std::vector<std::string>& environment) {
  // By variable: the flag's name.
  std::map<std::string, std::string> known;
  for (const CLI::App* command : root_.get_subcommands([](const CLI::App*) { return true; })) {
    for (const std::string& flag : FlagsOf(*command)) known[VariableOf(flag)] = flag;
  }
  const std::set<std::string> own = FlagsOf(*serve_);
  for (const std::string& line : environment) {
    const size_t equals = line.find('=');
    const std::string name = line.substr(0, equals);
    if (name.rfind(kEnvironmentPrefix, 0) != 0) continue;
    const std::string value = equals == std::string::npos ? "" : line.substr(equals + 1);
    const auto found = known.find(name);
    if (found == known.end() && IsServiceLink(name, value)) {
      passed_over_.push_back(name);
      continue;
    }
    if (found == known.end()) {
      return BadConfig(absl::StrCat("the environment variable ", name,
                                    " is not known: unset it, or see `postrider serve --help` for "
                                    "the flags that POSTRIDER_ variables stand for"));
    }
    const std::string& flag = found->second;
    if (own.count(flag) == 0 || serve_->count("--" + flag) > 0) continue;
    if (std::optional<std::string> error = Assign(*serve_, flag, {value})) {
      return BadConfig(absl::StrCat("the environment variable ", name, " is wrong: ", *error));
    }
    sources_[flag] = name;
  }
  return std::nullopt;
}

std::optional<Failure> ServeFlags::ApplyFile() {
  if (config_path_.empty()) return std::nullopt;
  absl::StatusOr<std::string> text = ReadSmallFile(config_path_);
  if (!text.ok()) return BadConfig(std::string(text.status().message()));
  absl::StatusOr<std::vector<ConfigEntry>> entries = ParseConfigFile(*text, config_path_);
  if (!entries.ok()) return BadConfig(std::string(entries.status().message()));

  std::set<std::string> own = FlagsOf(*serve_);
  own.erase("config");
  for (const ConfigEntry& entry : *entries) {
    const std::string where = absl::StrCat(config_path_, ":", entry.line, ": ");
    if (own.count(entry.key) == 0) {
      return BadConfig(absl::StrCat(where, "the key ", entry.key,
                                    " is not known: the keys are the flags of `postrider serve` "
                                    "without their dashes in front"));
    }
    if (serve_->count("--" + entry.key) > 0) continue;
    if (entry.values.size() != 1 && entry.key != "allow-network") {
      return BadConfig(absl::StrCat(where, "the key ", entry.key, " takes one value"));
    }
    if (entry.values.empty()) continue;
    if (std::optional<std::string> error = Assign(*serve_, entry.key, entry.values)) {
      return BadConfig(absl::StrCat(where, *error));
    }
    sources_[entry.key] = absl::StrCat(config_path_, ":", entry.line);
  }
  return std::nullopt;
}

std::optional<Failure> ServeFlags::Check() const {
  if (config_.data_dir.empty()) {
    return Usage("--data-dir is missing: name the directory where the outbox is to be kept");
  }
  if (config_.tls_cert.empty() != config_.tls_key.empty()) {
    return Usage("--tls-cert and --tls-key go together: give both or neither");
  }
  if (!config_.tls_client_ca.empty() && !config_.tls()) {
    return Usage("--tls-client-ca needs --tls-cert and --tls-key");
  }
  if (!config_.tls() && !config_.insecure && !ParseHostPort(config_.listen)->IsLoopback()) {
    return Usage(absl::StrCat("--listen ", config_.listen,
                              " is not a loopback address, and without TLS everybody on the way "
                              "could read and publish: give --tls-cert and --tls-key, or "
                              "--insecure if that is meant"));
  }
  if (config_.max_notification_bytes == 0 ||
      config_.max_notification_bytes > kMaxNotificationBytes) {
    return Usage("--max-notification-bytes must be between 1 and 8MiB");
  }
  if (config_.max_queue_bytes < config_.max_notification_bytes) {
    return Usage("--max-queue-bytes must not be less than --max-notification-bytes");
  }
  if (http_max_header_bytes_ < 1024 || http_max_header_bytes_ > kMaxHttpHeaderBytes) {
    return Usage("--http-max-header-bytes must be between 1KiB and 1MiB");
  }
  if (http_max_held_bytes_ < kMinHttpHeldBytes) {
    return Usage("--http-max-held-bytes must be at least 1MiB");
  }
  for (const auto& [flag, timeout] :
       {std::pair("--http-request-timeout", config_.http_limits.request_timeout),
        std::pair("--http-idle-timeout", config_.http_limits.idle_timeout)}) {
    if (timeout < absl::Seconds(1) || timeout > kMaxDrain) {
      return Usage(absl::StrCat(flag, " must be between 1s and 1h"));
    }
  }
  if (config_.grpc_max_answer_bytes < kMinAnswerBytes ||
      config_.grpc_max_answer_bytes > kMaxAnswerBytes) {
    return Usage("--grpc-max-answer-bytes must be between 4MiB and 1TiB");
  }
  // Else one that is stored could never be read.
  if (config_.grpc_max_answer_bytes < 2 * config_.max_notification_bytes) {
    return Usage("--grpc-max-answer-bytes must be at least twice --max-notification-bytes");
  }
  if (config_.grpc_handshake_timeout < absl::Milliseconds(1) ||
      config_.grpc_handshake_timeout > kMaxHandshake) {
    return Usage("--grpc-handshake-timeout must be between 1ms and 10m");
  }
  if (config_.drain_timeout > kMaxDrain) return Usage("--drain-timeout must be at most 1h");
  if (config_.retention < absl::Hours(24)) return Usage("--retention must be at least 24h");
  return std::nullopt;
}

std::vector<std::string> ProcessEnvironment() {
  std::vector<std::string> lines;
  for (char** line = environ; line != nullptr && *line != nullptr; ++line)
    lines.emplace_back(*line);
  return lines;
}

}  // namespace postrider
