#include "src/delivery/pager.h"

#include <algorithm>
#include <utility>

namespace postrider {
namespace {

// Reads under way at once: enough to keep the readers of the outbox busy.
constexpr size_t kMaxReads = 16;
// What one read asks for, when there is room.
constexpr size_t kPageBytes = size_t{1} << 20;

}  // namespace

void Pager::Want(WebhookState& webhook) {
  if (webhook.waits_for_page || webhook.queue.reading()) return;
  webhook.waits_for_page = true;
  waiting_.push_back(&webhook);
  memory_.SetWaiting(waiting_.size());
}

void Pager::Serve() {
  while (!waiting_.empty() && reading_ < kMaxReads) {
    WebhookState& webhook = *waiting_.front();
    const size_t rows = host_.RowsWanted(webhook);
    const bool starving = host_.IsStarving(webhook);
    const auto room = starving ? QueueMemory::Room::kShare : QueueMemory::Room::kFree;
    const size_t bytes = rows > 0 ? memory_.Reserve(kPageBytes, room) : 0;
    // Whoever starves longest is served first: the others wait behind it.
    if (rows > 0 && bytes == 0 && starving) return;
    waiting_.pop_front();
    webhook.waits_for_page = false;
    memory_.SetWaiting(waiting_.size());
    if (rows == 0) {
      host_.OnPageRead(webhook, absl::OkStatus());
    } else if (bytes == 0) {
      host_.OnNoRoom(webhook);
    } else {
      Start(webhook, rows, bytes);
    }
  }
}

void Pager::Start(WebhookState& webhook, size_t rows, size_t bytes) {
  ++reading_;
  outbox_.ReadOwed(webhook.id, webhook.queue.BeginRead(), static_cast<int>(rows), bytes,
                   [this, &home = home_, &webhook, bytes](absl::StatusOr<OwedPage> page) mutable {
                     home.Post([this, &webhook, bytes, page = std::move(page)]() mutable {
                       End(webhook, bytes, std::move(page));
                     });
                   });
}

void Pager::End(WebhookState& webhook, size_t reserved, absl::StatusOr<OwedPage> page) {
  --reading_;
  memory_.Unreserve(reserved);
  absl::Status status = page.status();
  if (status.ok() && page->rows.empty() && !page->complete) {
    status = absl::InternalError("the outbox read an empty page, and says that there is more");
  }
  if (!status.ok()) {
    webhook.queue.AbandonRead();
    host_.OnPageRead(webhook, status);
    return;
  }
  pages_read_.Add();
  bool first = true;
  webhook.queue.EndRead(*std::move(page), [&](OwedDelivery&& row) {
    return host_.AdmitRow(webhook, row, std::exchange(first, false));
  });
  host_.OnPageRead(webhook, absl::OkStatus());
}

}  // namespace postrider
