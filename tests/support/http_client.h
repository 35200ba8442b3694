#pragma once

#include <string>
#include <utility>
#include <vector>

namespace postrider {

// Plain HTTP/1.1 over raw sockets, so that a test sees every byte. Each call has a connection of
// its own to 127.0.0.1 and waits for up to a minute.

// Sends the bytes and returns all that comes back until the other side closes; empty when nobody
// listens there.
std::string Exchange(int port, const std::string& bytes);

// The whole answer to one request, headers and body.
std::string HttpCall(int port, const std::string& method, const std::string& target,
                     const std::vector<std::pair<std::string, std::string>>& headers,
                     const std::string& body);

// The same for a GET.
std::string HttpGet(int port, const std::string& path);

}  // namespace postrider
