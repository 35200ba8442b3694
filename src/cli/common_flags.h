#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "src/cli/client.h"
#include "src/cli/client_exit.h"

namespace postrider {

// What every command that calls a server is told.
struct CommonFlags {
  ClientOptions connection;
  std::string tenant = "default";
  bool json = false;
};

// Adds --server, --tenant, --timeout, --json and the TLS flags. `flags` must outlive the parse.
void AddCommonFlags(CLI::App& command, CommonFlags* flags);

// Adds an option that is a duration, as in `30s`.
CLI::Option* AddDurationFlag(CLI::App& command, const std::string& name,
                             std::function<void(absl::Duration)> take, const std::string& help);

// Connects and runs `call`. When the flags of the connection are wrong, complains and says what to
// end with.
ClientExit WithClient(const CommonFlags& flags, const std::function<ClientExit(Client&)>& call);

// Says on standard error what went wrong. REQUIRES: the status is not OK.
ClientExit Refuse(const google::rpc::Status& status);

}  // namespace postrider
