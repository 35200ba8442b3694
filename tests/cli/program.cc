#include "tests/cli/program.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>

#include "src/cli/client_exit.h"
#include "src/cli/commands.h"

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
    run.exit_code = program.exit(error) == 0 ? 0 : static_cast<int>(ClientExit::kUsage);
  }
  run.out = testing::internal::GetCapturedStdout();
  run.err = testing::internal::GetCapturedStderr();
  return run;
}

}  // namespace postrider
