#include "src/outbox/sqlite/commands.h"

#include <utility>

#include "src/outbox/sqlite/status_macros.h"

namespace postrider {
namespace {

// What a command weighs beside the bytes that it carries.
constexpr size_t kOverhead = 256;

size_t Weigh(const std::vector<NewNotification>& notifications) {
  size_t bytes = kOverhead;
  for (const NewNotification& n : notifications) bytes += kOverhead + n.body->size();
  return bytes;
}

size_t Weigh(const OutcomeBatch& batch) {
  size_t bytes = kOverhead + batch.health.size() * sizeof(WebhookHealth);
  for (const AttemptOutcome& outcome : batch.outcomes) {
    bytes += sizeof outcome + outcome.error.size() + outcome.response_body.size();
  }
  return bytes;
}

}  // namespace

PublishCommand::PublishCommand(std::vector<NewNotification> notifications,
                               Outbox::Done<std::vector<absl::StatusOr<Published>>> done)
    : ValueCommand(Weigh(notifications), notifications.size(), std::move(done)),
      notifications_(std::move(notifications)) {}

absl::Status PublishCommand::Execute(WriteSession& session, const TransactionContext& context,
                                     Effects* effects) {
  if (!context.admission.ok()) {
    result_ = Unshared(context.admission);
    ++effects->counts().refused;
    return absl::OkStatus();
  }
  std::vector<absl::StatusOr<Published>> results(notifications_.size());
  for (size_t i = 0; i < notifications_.size(); ++i) {
    RETURN_IF_ERROR(session.Publish(notifications_[i], context.now, effects, &results[i]));
  }
  result_ = std::move(results);
  return absl::OkStatus();
}

ModifyWebhookCommand::ModifyWebhookCommand(std::string tenant, std::string name,
                                           Outbox::Modify modify, Outbox::Done<Webhook> done)
    : ValueCommand(kOverhead, 1, std::move(done)),
      tenant_(std::move(tenant)),
      name_(std::move(name)),
      modify_(std::move(modify)) {}

absl::Status ModifyWebhookCommand::Execute(WriteSession& session, const TransactionContext& context,
                                           Effects* effects) {
  return session.ModifyWebhook(tenant_, name_, modify_, context.now, effects, &result_);
}

DisableWebhookCommand::DisableWebhookCommand(WebhookId id, int64_t version, std::string reason,
                                             Outbox::StatusDone done)
    : StatusCommand(kOverhead, 1, std::move(done)),
      id_(id),
      version_(version),
      reason_(std::move(reason)) {}

absl::Status DisableWebhookCommand::Execute(WriteSession& session,
                                            const TransactionContext& context, Effects* effects) {
  return session.DisableWebhook(id_, version_, reason_, context.now, effects);
}

RecordOutcomesCommand::RecordOutcomesCommand(OutcomeBatch batch, Outbox::StatusDone done)
    : StatusCommand(Weigh(batch), batch.outcomes.size() + batch.health.size(), std::move(done)),
      batch_(std::move(batch)) {}

absl::Status RecordOutcomesCommand::Execute(WriteSession& session,
                                            const TransactionContext& context, Effects* effects) {
  effects->counts().outcomes += batch_.outcomes.size();
  return session.Record(batch_, context.now);
}

RetryDeliveryCommand::RetryDeliveryCommand(std::string tenant, DeliveryId id,
                                           Outbox::Done<Delivery> done)
    : ValueCommand(kOverhead, 1, std::move(done)), tenant_(std::move(tenant)), id_(id) {}

absl::Status RetryDeliveryCommand::Execute(WriteSession& session, const TransactionContext& context,
                                           Effects* effects) {
  return session.Retry(tenant_, id_, context.now, effects, &result_);
}

}  // namespace postrider
