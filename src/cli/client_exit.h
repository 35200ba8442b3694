#pragma once

namespace postrider {

// What a client command ends with. From 64 on the numbers of sysexits.h, as for the server.
enum class ClientExit : int {
  kOk = 0,
  kRefused = 1,       // the server refused, or the webhook is not valid
  kUsage = 64,        // a flag is unknown, missing, malformed or contradicts another
  kNoInput = 66,      // a file that was named cannot be read
  kUnavailable = 69,  // the server was not reached or did not answer in time
  kInternal = 70,     // the server failed by a fault of its own
  kIo = 74,           // the output or a secret file could not be written
  kTryLater = 75,     // the server is short of room: the same again later may do
};

// The table for --help.
inline constexpr char kClientExitHelp[] =
    "Exit codes:\n"
    "  0   done\n"
    "  1   the server refused, or the webhook is not valid\n"
    "  64  a flag is unknown, missing, malformed or contradicts another\n"
    "  66  a file that was named cannot be read\n"
    "  69  the server was not reached or did not answer in time\n"
    "  70  the server failed by a fault of its own\n"
    "  74  the output or a secret file could not be written\n"
    "  75  the server is short of room: try again later\n";

}  // namespace postrider
