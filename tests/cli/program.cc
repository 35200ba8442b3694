#include "tests/cli/program.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>

#include "src/cli/commands.h"
#include "src/cli/suggestion.h"

namespace postrider {

ProgramRun RunProgram(const std::vector<std::string>& arguments) {
  CLI::App program("Postrider delivers webhooks");
  program.require_subcommand(1);
  ProgramRun run;
  AddClientCommands(program, &run.exit_code);
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  try {
    // CLI11 takes them from the back.
    program.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    run.exit_code = ReportParseError(program, error);
  }
  run.out = testing::internal::GetCapturedStdout();
  run.err = testing::internal::GetCapturedStderr();
  return run;
}

}  // namespace postrider
