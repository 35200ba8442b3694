#pragma once

#include <cstddef>
#include <deque>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/base/executor.h"
#include "src/base/metrics.h"
#include "src/delivery/queue_memory.h"
#include "src/delivery/webhook_state.h"
#include "src/outbox/outbox.h"

namespace postrider {

// Reads what is owed from the outbox: one page of a webhook at a time, a few webhooks at once,
// those that wait longest first, each only when there is memory for it.
//
// Not thread-safe: belongs to the engine; what the outbox answers comes back through `home`.
class Pager {
 public:
  // What the pager asks the engine.
  class Host {
   public:
    // How many more deliveries of the webhook should be read now; 0 when it does not want any.
    virtual size_t RowsWanted(const WebhookState& webhook) = 0;
    // Whether it has nothing to send though something is due. Only such a one may take memory from
    // others, so that those who read ahead do not take it from each other for ever.
    virtual bool IsStarving(const WebhookState& webhook) = 0;
    // There is no memory for it to read ahead. It does not wait any more.
    virtual void OnNoRoom(WebhookState& webhook) = 0;
    // As QueueMemory::Admit. `first`: of the page; there is always room for it.
    virtual Item* AdmitRow(WebhookState& webhook, OwedDelivery& row, bool first) = 0;
    // The read has ended; `status` says how.
    virtual void OnPageRead(WebhookState& webhook, const absl::Status& status) = 0;

   protected:
    ~Host() = default;
  };

  Pager(Outbox& outbox, Executor& home, QueueMemory& memory, Counter& pages_read, Host& host)
      : outbox_(outbox), home_(home), memory_(memory), pages_read_(pages_read), host_(host) {}

  // The webhook wants to read. It may be asked again whether it still does.
  void Want(WebhookState& webhook);
  // Starts the reads that can start.
  void Serve();

 private:
  void Start(WebhookState& webhook, size_t rows, size_t bytes);
  void End(WebhookState& webhook, size_t reserved, absl::StatusOr<OwedPage> page);

  Outbox& outbox_;
  Executor& home_;
  QueueMemory& memory_;
  Counter& pages_read_;
  Host& host_;
  std::deque<WebhookState*> waiting_;
  size_t reading_ = 0;
};

}  // namespace postrider
