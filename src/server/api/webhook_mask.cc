#include "src/server/api/webhook_mask.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/util/field_mask_util.h"
#include "src/message/webhook_check.h"
#include "src/server/api/errors.h"

namespace postrider {
namespace {

using google::protobuf::util::FieldMaskUtil;

constexpr std::string_view kHeaderPrefix = "headers.";
// More than there are fields, and headers to set and to remove.
constexpr int kMaxPaths = 200;

// The name of `headers.NAME`, which may stand in backquotes (AIP-161).
std::optional<std::string> HeaderOf(const std::string& path) {
  if (!absl::StartsWith(path, "headers.")) return std::nullopt;
  std::string name = path.substr(kHeaderPrefix.size());
  if (name.size() >= 2 && name.front() == '`' && name.back() == '`') {
    name = name.substr(1, name.size() - 2);
  }
  return name;
}

bool IsChangeable(const std::string& path) {
  if (const std::optional<std::string> header = HeaderOf(path)) return !header->empty();
  constexpr const char* kFields[] = {"url",          "headers",         "enabled",
                                     "timeout",      "rate_limit",      "notification_types",
                                     "retry_policy", "max_concurrency", "delivery_order"};
  const std::vector<std::string> parts = absl::StrSplit(path, '.');
  const bool known = std::any_of(std::begin(kFields), std::end(kFields),
                                 [&](const char* field) { return parts[0] == field; });
  if (!known || !FieldMaskUtil::IsValidPath<v1::Webhook>(path)) return false;
  return parts.size() == 1 ||
         (parts.size() == 2 && (parts[0] == "retry_policy" || parts[0] == "rate_limit"));
}

void ApplyHeader(const std::string& name, const v1::Webhook& from, v1::Webhook* to) {
  const auto is_it = [&name](const v1::Header& header) {
    return absl::EqualsIgnoreCase(header.name(), name);
  };
  google::protobuf::RepeatedPtrField<v1::Header> merged;
  bool placed = false;
  const auto place = [&] {
    for (const v1::Header& header : from.headers()) {
      if (is_it(header)) *merged.Add() = header;
    }
    placed = true;
  };
  for (const v1::Header& header : to->headers()) {
    if (!is_it(header)) {
      *merged.Add() = header;
    } else if (!placed) {
      place();
    }
  }
  if (!placed) place();
  to->mutable_headers()->Swap(&merged);
}

}  // namespace

absl::Status CheckMask(const google::protobuf::FieldMask& mask, const v1::Webhook& from) {
  if (mask.paths().empty()) {
    return InvalidField("update_mask", "names nothing: name what shall change, or leave it unset "
                                       "to replace the whole webhook");
  }
  if (mask.paths_size() > kMaxPaths) {
    return InvalidField("update_mask", absl::StrCat("names ", mask.paths_size(), " paths, at most ",
                                                    kMaxPaths, " are allowed"));
  }
  FieldViolations violations;
  if (static_cast<size_t>(from.headers_size()) > kMaxHeaders) {
    violations.Add("webhook.headers",
                   absl::StrCat("has ", from.headers_size(), " headers, at most ", kMaxHeaders,
                                " are allowed"));
  }
  for (int i = 0; i < mask.paths_size(); ++i) {
    if (IsChangeable(mask.paths(i))) continue;
    violations.Add(absl::StrCat("update_mask.paths[", i, "]"),
                   absl::StrCat(Quoted(mask.paths(i)),
                                " is no field of a webhook that can be changed: there are url, "
                                "headers, headers.NAME, enabled, notification_types, retry_policy, "
                                "timeout, max_concurrency, rate_limit and delivery_order"));
  }
  return violations.ToStatus();
}

void ApplyMask(const google::protobuf::FieldMask& mask, const v1::Webhook& from, v1::Webhook* to) {
  google::protobuf::FieldMask fields;
  for (const std::string& path : mask.paths()) {
    if (!HeaderOf(path).has_value()) fields.add_paths(path);
  }
  FieldMaskUtil::MergeOptions replace;
  replace.set_replace_message_fields(true);
  replace.set_replace_repeated_fields(true);
  FieldMaskUtil::MergeMessageTo(from, fields, replace, to);
  for (const std::string& path : mask.paths()) {
    if (const std::optional<std::string> header = HeaderOf(path)) ApplyHeader(*header, from, to);
  }
}

}  // namespace postrider
