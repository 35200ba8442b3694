#include "src/base/ids.h"

#include <algorithm>

namespace postrider {
namespace {

constexpr int kCountBits = 20;
constexpr int kNumberChars = 13;
constexpr int kInstanceChars = 8;
constexpr std::string_view kNotificationPrefix = "ntf";
constexpr std::string_view kDeliveryPrefix = "dlv";
// Crockford's: no I, L, O, U; in the order of ASCII, so that text sorts as numbers do.
constexpr std::string_view kAlphabet = "0123456789abcdefghjkmnpqrstvwxyz";

std::string Base32(uint64_t number, int chars) {
  std::string text(chars, '0');
  for (int i = chars; i-- > 0; number >>= 5) text[i] = kAlphabet[number & 31];
  return text;
}

}  // namespace

int64_t IdSequence::Next(absl::Time now) {
  last_ = std::max(last_ + 1, FloorFor(now));
  return last_;
}

int64_t IdSequence::FloorFor(absl::Time time) {
  constexpr int64_t kMaxMillis = (int64_t{1} << 43) - 1;
  return std::clamp<int64_t>(absl::ToUnixMillis(time), 0, kMaxMillis) << kCountBits;
}

absl::Time IdSequence::TimeOf(int64_t id) { return absl::FromUnixMillis(id >> kCountBits); }

IdCodec::IdCodec(uint64_t instance) : instance_(Base32(instance, kInstanceChars)) {}

std::string IdCodec::Format(NotificationId id) const {
  return Format(kNotificationPrefix, static_cast<int64_t>(id));
}

std::string IdCodec::Format(DeliveryId id) const {
  return Format(kDeliveryPrefix, static_cast<int64_t>(id));
}

std::optional<NotificationId> IdCodec::ParseNotificationId(std::string_view text) const {
  const auto number = Parse(kNotificationPrefix, text);
  if (!number) return std::nullopt;
  return NotificationId{*number};
}

std::optional<DeliveryId> IdCodec::ParseDeliveryId(std::string_view text) const {
  const auto number = Parse(kDeliveryPrefix, text);
  if (!number) return std::nullopt;
  return DeliveryId{*number};
}

std::string IdCodec::Format(std::string_view prefix, int64_t number) const {
  std::string text(prefix);
  text += '_';
  text += Base32(static_cast<uint64_t>(number), kNumberChars);
  text += instance_;
  return text;
}

std::optional<int64_t> IdCodec::Parse(std::string_view prefix, std::string_view text) const {
  if (text.size() != prefix.size() + 1 + kNumberChars + kInstanceChars) return std::nullopt;
  if (text.substr(0, prefix.size()) != prefix || text[prefix.size()] != '_') return std::nullopt;
  text.remove_prefix(prefix.size() + 1);
  if (text.substr(kNumberChars) != instance_) return std::nullopt;
  uint64_t number = 0;
  for (const char c : text.substr(0, kNumberChars)) {
    const size_t digit = kAlphabet.find(c);
    if (digit == std::string_view::npos || number >> 58 != 0) return std::nullopt;
    number = number << 5 | digit;
  }
  return static_cast<int64_t>(number);
}

}  // namespace postrider
