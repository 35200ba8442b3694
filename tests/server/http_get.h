#pragma once

#include <string>

namespace postrider {

// The whole answer to a GET from 127.0.0.1, headers and body; empty when nobody listens there.
std::string HttpGet(int port, const std::string& path);

}  // namespace postrider
