#pragma once

#include <sys/socket.h>

#include <string>

namespace postrider {

// What this process or machine lacks for a connection, by the errno of socket, connect or send: no
// fault of the other side, and no other address would do better.

// Descriptors or memory.
bool LacksResources(int error);

// The same in a sentence that says what to do about it; empty when it is nothing of ours. With the
// address that connect was given, a want of local ports counts, too. May open a descriptor for a
// moment.
std::string DescribeOwnWant(int error, const sockaddr* address = nullptr, socklen_t size = 0);

}  // namespace postrider
