#include "src/server/app/engine_status.h"

#include <atomic>
#include <cstddef>
#include <map>
#include <memory>
#include <utility>

namespace postrider {
namespace {

// Questions to several engines, whose answers belong together. Each engine's thread writes its own
// answers; the last one calls `done`. When one is stopped before, all is dropped.
template <typename Question, typename Answer>
struct Survey {
  std::vector<Question> questions;
  std::vector<Answer> answers;
  absl::AnyInvocable<void(std::vector<Answer>) &&> done;
  std::atomic<size_t> engines_left{0};
};

// `webhook_of(question)`, `ask(engine, question)`.
template <typename Question, typename Answer, typename WebhookOf, typename Ask>
void AskEngines(const Dispatcher& dispatcher, std::vector<Question> questions,
                absl::AnyInvocable<void(std::vector<Answer>) &&> done, WebhookOf webhook_of,
                Ask ask) {
  if (questions.empty()) return std::move(done)({});
  std::map<Engine*, std::pair<Executor*, std::vector<size_t>>> shares;
  for (size_t i = 0; i < questions.size(); ++i) {
    const Dispatcher::Lane lane = dispatcher.LaneOf(webhook_of(questions[i]));
    auto& [executor, indexes] = shares[lane.engine];
    executor = lane.executor;
    indexes.push_back(i);
  }
  auto survey = std::make_shared<Survey<Question, Answer>>();
  survey->answers.resize(questions.size());
  survey->questions = std::move(questions);
  survey->done = std::move(done);
  survey->engines_left = shares.size();
  for (auto& [engine, share] : shares) {
    share.first->Post([survey, ask, engine = engine, indexes = std::move(share.second)] {
      for (const size_t i : indexes) survey->answers[i] = ask(*engine, survey->questions[i]);
      if (survey->engines_left.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
      std::move(survey->done)(std::move(survey->answers));
    });
  }
}

}  // namespace

void EngineStatus::AskHolds(std::vector<PendingDelivery> deliveries,
                            absl::AnyInvocable<void(Holds) &&> done) {
  AskEngines<PendingDelivery, std::optional<Hold>>(
      dispatcher_, std::move(deliveries), std::move(done),
      [](const PendingDelivery& delivery) { return delivery.webhook; },
      [](Engine& engine, const PendingDelivery& delivery) { return engine.HoldOf(delivery); });
}

void EngineStatus::AskHealth(std::vector<WebhookId> webhooks,
                             absl::AnyInvocable<void(std::vector<Health>) &&> done) {
  AskEngines<WebhookId, Health>(
      dispatcher_, std::move(webhooks), std::move(done), [](WebhookId id) { return id; },
      [](Engine& engine, WebhookId id) { return engine.HealthOf(id); });
}

}  // namespace postrider
