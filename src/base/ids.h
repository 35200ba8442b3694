#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"

namespace postrider {

// Numbers of the outbox's rows. They are types of their own, so that one cannot stand for another.
enum class WebhookId : int64_t {};
enum class NotificationId : int64_t {};
enum class DeliveryId : int64_t {};

// Gives out row numbers that grow with time: the milliseconds since 1970 in the upper 43 bits, a
// count in the lower 20. So an insert goes to the end of its B-tree, a range of time is a range of
// numbers, and a number is never given twice, even after its row is gone and when the clock is set
// back (then it counts on from the last one).
//
// Not thread-safe: it belongs to the outbox's writer.
class IdSequence {
 public:
  // `last`: the greatest number that is in use, 0 when there is none.
  explicit IdSequence(int64_t last) : last_(last) {}

  int64_t Next(absl::Time now);

  // The first number that can have been given out at `time` or later.
  static int64_t FloorFor(absl::Time time);
  // When the number was given out, to the millisecond.
  static absl::Time TimeOf(int64_t id);

 private:
  int64_t last_;
};

// Turns row numbers into what the world sees, and back: a prefix ("ntf", "dlv"), an underscore, 13
// characters of Crockford's base32 for the number, and 8 for the data directory it comes from. The
// last part makes an id unique among all Postriders, since receivers remember ids to recognise a
// repeated delivery. The text sorts as the numbers do and has no dot (Standard Webhooks 1.0.0).
//
// Thread-safe: immutable.
class IdCodec {
 public:
  // `instance`: a random number that is kept with the data; its lower 40 bits count.
  explicit IdCodec(uint64_t instance);

  std::string Format(NotificationId id) const;
  std::string Format(DeliveryId id) const;

  // Nothing when the text is no id of that kind, or is another data directory's.
  std::optional<NotificationId> ParseNotificationId(std::string_view text) const;
  std::optional<DeliveryId> ParseDeliveryId(std::string_view text) const;

 private:
  std::string Format(std::string_view prefix, int64_t number) const;
  std::optional<int64_t> Parse(std::string_view prefix, std::string_view text) const;

  const std::string instance_;
};

}  // namespace postrider
