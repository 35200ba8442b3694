#include <memory>

#include "tests/conformance/outbox_conformance.h"
#include "tests/support/memory_outbox.h"

namespace postrider {
namespace {

class MemoryHarness final : public OutboxHarness {
 public:
  MemoryHarness(const FakeClock& clock, OutboxListener& listener)
      : clock_(clock), listener_(listener) {
    Reopen();
  }

  Outbox& outbox() override { return *outbox_; }
  void Pump() override { outbox_->RunPending(); }
  void Close() override { outbox_->ShutDown(); }
  void Reopen() override { outbox_ = std::make_unique<MemoryOutbox>(clock_, store_, &listener_); }

 private:
  const FakeClock& clock_;
  OutboxListener& listener_;
  MemoryStore store_;
  std::unique_ptr<MemoryOutbox> outbox_;
};

INSTANTIATE_TEST_SUITE_P(Backend, OutboxConformanceTest,
                         testing::Values(OutboxBackend{
                             "Memory",
                             [](const FakeClock& clock, OutboxListener& listener) {
                               return std::make_unique<MemoryHarness>(clock, listener);
                             }}),
                         BackendName);

}  // namespace
}  // namespace postrider
