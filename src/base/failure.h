#pragma once

#include <string>

namespace postrider {

// What the process ends with: the numbers of sysexits.h, so that a supervisor can tell what is
// worth a restart (69, 70, 73, 74) from what needs a person (64, 65, 78).
enum class ExitCode : int {
  kOk = 0,
  kUsage = 64,        // a flag is unknown, missing or contradicts another
  kData = 65,         // the database is corrupt or not ours, or a part of it is missing
  kUnavailable = 69,  // an address cannot be listened on, or no file descriptors are left
  kInternal = 70,     // a defect of Postrider
  kCannotUse = 73,    // the data directory cannot be made, is held by another process, or is newer
  kIo = 74,           // the disk failed
  kConfig = 78,       // the configuration file, a certificate file or the environment is wrong
};

// Why the process cannot start or go on, in a sentence that says what to do.
struct Failure {
  ExitCode code = ExitCode::kInternal;
  std::string message;
};

// The table of exit codes for --help; docs/operations.md has the same, and a test compares them.
inline constexpr char kExitCodesHelp[] =
    "Exit codes:\n"
    "  0   stopped as asked\n"
    "  64  a flag is unknown, missing or contradicts another\n"
    "  65  the database is corrupt or not Postrider's, or a part of it is missing\n"
    "  69  an address cannot be listened on, or no file descriptors are left\n"
    "  70  a defect of Postrider\n"
    "  73  the data directory cannot be made, is held by another process, or is of a newer "
    "version\n"
    "  74  the disk failed\n"
    "  78  the configuration file, a certificate file or the environment is wrong\n";

}  // namespace postrider
