#pragma once

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "tests/e2e/api_client.h"
#include "tests/support/http_sink.h"

// What tests of the real binary ask of their receivers.

namespace postrider {

inline SinkAnswer Status(int status) {
  SinkAnswer answer;
  answer.status = status;
  return answer;
}

inline SinkAnswer Hanging() {
  SinkAnswer answer;
  answer.way = SinkAnswer::Way::kHang;
  return answer;
}

inline bool IsTest(const SinkRequest& request) {
  return absl::StartsWith(request.Header("webhook-id").value_or(""), "test_");
}

// The requests that are no tests of a configuration.
inline std::vector<SinkRequest> Deliveries(const HttpSink& sink) {
  std::vector<SinkRequest> requests = sink.requests();
  requests.erase(std::remove_if(requests.begin(), requests.end(), IsTest), requests.end());
  return requests;
}

inline bool WaitForDeliveries(const HttpSink& sink, size_t count) {
  return Eventually([&] { return Deliveries(sink).size() >= count; });
}

}  // namespace postrider
