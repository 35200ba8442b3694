#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace postrider {

// Page tokens. A token holds where the next page begins and a fingerprint of the filter that it was
// made for, so that a token used with another filter is refused instead of giving a page of
// something else. Callers must not look into it.

// `filter`: everything of the request but page_size and page_token, in any unambiguous form.
std::string EncodePageToken(std::string_view filter, int64_t position);
std::string EncodePageToken(std::string_view filter, std::string_view position);

// Nothing for the empty token: the first page. INVALID_ARGUMENT naming `page_token` otherwise, when
// the token is none of ours or another filter's.
absl::StatusOr<std::optional<int64_t>> DecodeNumberToken(std::string_view filter,
                                                         const std::string& token);
// Empty for the first page.
absl::StatusOr<std::string> DecodeNameToken(std::string_view filter, const std::string& token);

// What a page_size stands for: 0 means 50, more than 1,000 means 1,000; below 0 is
// INVALID_ARGUMENT.
absl::StatusOr<int> PageLimit(int32_t page_size);

}  // namespace postrider
