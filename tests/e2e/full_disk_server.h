#pragma once

#include <string>

#include "tests/e2e/server_process.h"

namespace postrider {

// A server whose disk can be filled up. Its data directory is a small tmpfs, mounted in a mount
// namespace of the server's own, where that is allowed: to root, and to anybody where user
// namespaces are allowed. Elsewhere a library that is loaded before the others refuses every write
// that makes a file larger, with the error that a full disk gives. FULL_DISK=preload in the
// environment chooses the latter. What is used is printed.
//
// Belongs to one thread, as ServerProcess does. Not to be started again: a tmpfs dies with its
// server.
class FullDiskServer {
 public:
  FullDiskServer();
  ~FullDiskServer();

  // As ServerProcess has it.
  bool Start();
  ServerProcess& process() { return server_; }

  // From now on there is room for little or nothing.
  void FillUp();
  void MakeRoom();

 private:
  ServerProcess server_;
  const bool mounts_;
  // What is removed to make room, or what says that there is none.
  std::string ballast_;
};

}  // namespace postrider
