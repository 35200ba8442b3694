#pragma once

#include <string>
#include <utility>
#include <vector>

namespace postrider {

// The whole answer to one request of a connection of its own to 127.0.0.1, headers and body; empty
// when nobody listens there or the answer never came.
std::string HttpCall(int port, const std::string& method, const std::string& target,
                     const std::vector<std::pair<std::string, std::string>>& headers,
                     const std::string& body);

}  // namespace postrider
