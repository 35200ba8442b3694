#include <CLI/CLI.hpp>
#include <cstdio>
#include <optional>

#include "src/cli/commands.h"
#include "src/cli/suggestion.h"
#include "src/server/app/serve.h"
#include "src/server/app/version.h"
#include "src/server/config/config.h"

namespace {

int ServeCommand(postrider::ServeFlags& flags) {
  if (std::optional<postrider::Failure> failure = flags.Finish(postrider::ProcessEnvironment())) {
    std::fprintf(stderr, "postrider: %s\n", failure->message.c_str());
    return static_cast<int>(failure->code);
  }
  postrider::BlockStopSignals();
  return static_cast<int>(postrider::Serve(flags));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App program("Postrider delivers webhooks");
  program.set_version_flag("--version", std::string("postrider ") + postrider::kVersion);
  program.require_subcommand(1);
  program.footer(postrider::kExitCodesHelp);
  postrider::ServeFlags serve(program);
  int exit_code = 0;
  postrider::AddClientCommands(program, &exit_code);
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return postrider::ReportParseError(program, error);
  }
  return serve.parsed() ? ServeCommand(serve) : exit_code;
}
