#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/base/ids.h"
#include "src/outbox/sqlite/database.h"

// How the deliveries of one webhook are found in the table of all: for each span of deliveries in a
// row the table delivery_span says which webhooks they are for, so that a reader passes over the
// spans without its own. This is a block range index, as PostgreSQL's BRIN: an index by webhook
// would cost each publish a page of its own when there are many webhooks, this one costs it next to
// nothing, and a list some milliseconds. The newest deliveries are in no span yet.

namespace postrider {

// Puts deliveries into spans when enough have come. Not thread-safe: it belongs to the writer
// thread.
class SpanWriter {
 public:
  // Deliveries in a span. Fewer make it more likely that a span can be passed over, more make it
  // cheaper to do so.
  static constexpr int kDeliveries = 1024;

  static absl::StatusOr<SpanWriter> Create(Database& db);

  // So many deliveries were stored.
  void Stored(int64_t deliveries) { waiting_ += deliveries; }
  bool Due() const { return waiting_ >= kDeliveries; }

  // ---- Inside a transaction

  // Covers some of what waits: at most 4 spans.
  absl::Status Run();
  // Forgets spans of which no delivery is left. Looks at those that end before number `end`, 64 at
  // most, and goes on where it left off. False when it has come to the end, to begin anew.
  absl::StatusOr<bool> ForgetOld(int64_t end);
  // The transaction was rolled back, and with it perhaps what Run had done.
  void Rollback() { waiting_ = kDeliveries; }

 private:
  Statement last_;
  Statement waiting_rows_;
  Statement insert_;
  Statement old_spans_;
  Statement any_left_;
  Statement forget_;
  // ForgetOld has looked at the spans up to this number.
  int64_t looked_at_ = 0;
  // Deliveries that are in no span yet. May be too many: Run finds how many there are.
  int64_t waiting_ = kDeliveries;
};

// Not thread-safe: it belongs to the thread of its connection, inside its transaction.
class SpanReader {
 public:
  static absl::StatusOr<SpanReader> Create(Database& db);

  // Deliveries whose numbers are at least `first`.
  struct Range {
    int64_t first = 0;
    // False: none of them is for the webhook.
    bool may_hold = true;
  };
  // Those that come right before number `end`, down to where the next span begins. Everything is in
  // one range when there are no spans.
  absl::StatusOr<Range> Before(int64_t end, WebhookId webhook);

 private:
  Statement containing_;
  Statement last_before_;
};

// The webhooks of a span as they stand in its row: in ascending order, each but once, as the
// difference to the one before, in groups of 7 bits, the lowest first (LEB128).
std::string EncodeWebhooks(std::vector<int64_t> webhooks);
// DATA_LOSS when it is none of these.
absl::StatusOr<bool> ContainsWebhook(std::string_view encoded, int64_t webhook);

}  // namespace postrider
