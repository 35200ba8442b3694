#include <memory>

#include "src/outbox/sqlite/sqlite_outbox.h"
#include "tests/conformance/outbox_conformance.h"
#include "tests/support/scratch_dir.h"

namespace postrider {
namespace {

class SqliteHarness final : public OutboxHarness {
 public:
  SqliteHarness(const FakeClock& clock, OutboxListener& listener)
      : clock_(clock), listener_(listener) {
    Reopen();
  }

  Outbox& outbox() override { return *outbox_; }
  void Close() override { outbox_->Close(); }
  void Reopen() override {
    outbox_.reset();
    SqliteOutboxOptions options;
    options.data_directory = dir_.path();
    options.min_free_bytes = 0;
    options.idle_interval = absl::Milliseconds(5);
    auto opened = SqliteOutbox::Open(options, clock_, &listener_, [](absl::Status status) {
      ADD_FAILURE() << "the disk failed: " << status;
    });
    if (!opened.ok()) {
      ADD_FAILURE() << opened.status();
      std::abort();
    }
    outbox_ = *std::move(opened);
  }

 private:
  const FakeClock& clock_;
  OutboxListener& listener_;
  ScratchDir dir_;
  std::unique_ptr<SqliteOutbox> outbox_;
};

INSTANTIATE_TEST_SUITE_P(Backend, OutboxConformanceTest,
                         testing::Values(OutboxBackend{
                             "Sqlite",
                             [](const FakeClock& clock, OutboxListener& listener) {
                               return std::make_unique<SqliteHarness>(clock, listener);
                             }}),
                         BackendName);

}  // namespace
}  // namespace postrider
