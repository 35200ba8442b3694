#pragma once

#include <string>
#include <string_view>

#include "src/message/rendering.h"
#include "src/outbox/types.h"

// The one message that all parts work on, in the likeness of the one that tools/bench sends: a body
// of exactly 600 bytes, and a webhook with five additional headers. And one way to give up.

namespace postrider::micro {

inline constexpr std::string_view kMessageId = "ntf_0123456789abc01234567";

const BodyHeader& TheHeader();
const RunCompletedPayload& TheRun();
// Of TheHeader and TheRun.
const std::string& TheBody();
// What stands in TheBody as its payload.
std::string_view ThePayload();

// It has one secret, of 32 bytes.
const Webhook& TheWebhook();

// Says what is wrong, and ends the process, when it does not hold: after an error of Google
// Benchmark's own the exit code is 0. Thread-safe.
void Require(bool holds, std::string_view what);

}  // namespace postrider::micro
