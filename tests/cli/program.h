#pragma once

#include <string>
#include <vector>

namespace postrider {

// What a run of the program's client commands left.
struct ProgramRun {
  int exit_code = -1;
  std::string out;
  std::string err;
};

// Runs `postrider ARGUMENTS` in this process, as main does. Standard output and error are caught
// while it runs, so only one runs at a time.
ProgramRun RunProgram(const std::vector<std::string>& arguments);

}  // namespace postrider
