#pragma once

#include <string>
#include <string_view>

namespace postrider {

// The text with U+FFFD in place of each maximal part that is not UTF-8, as a protobuf string must
// be: what a receiver answers may be anything.
std::string ToUtf8(std::string_view bytes);

}  // namespace postrider
