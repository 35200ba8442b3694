#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace postrider {

// OK when the text is one JSON object and nothing else, as RFC 8259 has it, in valid UTF-8. Numbers
// may be of any size and precision, keys may come twice: nothing is converted. A \u escape of half
// a surrogate pair is refused, since it stands for no character and receivers choke on it.
//
// It may be nested 512 levels deep, itself included: receivers' parsers do not bear any depth.
//
// Otherwise INVALID_ARGUMENT with the byte offset, from 0, of the fault, and what was expected
// there.
//
// Own code, since RapidJSON 1.1 refuses 1e400 even where it keeps numbers as text.
absl::Status CheckJsonObject(std::string_view text);

}  // namespace postrider
