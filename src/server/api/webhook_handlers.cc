#include "src/server/api/webhook_handlers.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "src/message/signing.h"
#include "src/server/api/errors.h"
#include "src/server/api/hold_conversion.h"
#include "src/server/api/paging.h"
#include "src/server/api/time_conversion.h"
#include "src/server/api/webhook_conversion.h"
#include "src/server/api/webhook_mask.h"

namespace postrider {
namespace {

constexpr absl::Duration kDefaultOverlap = absl::Hours(24);
constexpr absl::Duration kMaxOverlap = absl::Hours(30 * 24);
// Each of them is one more signature on every request.
constexpr size_t kMaxSecrets = 8;

absl::Status NoWebhook(const std::string& tenant, const std::string& name) {
  return WithReason(absl::NotFoundError(absl::StrCat("there is no webhook ", Quoted(name),
                                                     " of tenant ", Quoted(tenant))),
                    "WEBHOOK_NOT_FOUND");
}

absl::Status ChangedMeanwhile(const std::string& name) {
  return WithReason(absl::AbortedError(absl::StrCat(
                        "webhook ", Quoted(name),
                        " was changed while this one was tested: read it and try again")),
                    "CHANGED_MEANWHILE");
}

absl::Status EtagMismatch(const std::string& name, bool exists) {
  return WithReason(
      absl::AbortedError(absl::StrCat(
          "webhook ", Quoted(name),
          exists ? " was changed since its etag was read: read it again"
                 : " does not exist, so no etag matches: leave the etag empty to create it")),
      "ETAG_MISMATCH");
}

// Cuts what a person can miss best until the result fits into the details of a status, which travel
// in HTTP/2 trailers: clients take 8 KiB of those.
void Shrink(v1::ValidationResult* result) {
  constexpr size_t kMaxBytes = 4000;
  constexpr int kMaxBodyBytes = 1000;
  if (result->ByteSizeLong() <= kMaxBytes) return;
  std::string* body = result->mutable_response()->mutable_body();
  if (body->size() > kMaxBodyBytes) {
    size_t end = kMaxBodyBytes;
    while (end > 0 && (static_cast<unsigned char>((*body)[end]) & 0xC0) == 0x80) --end;
    body->resize(end);
    result->mutable_response()->set_body_truncated(true);
  }
  // Their sizes are added up once: a receiver may send tens of thousands of headers, and this is
  // done on the thread that delivers.
  size_t bytes = result->ByteSizeLong();
  for (auto* headers : {result->mutable_response()->mutable_headers(),
                        result->mutable_request()->mutable_headers()}) {
    for (; bytes > kMaxBytes && !headers->empty(); headers->RemoveLast()) {
      bytes -= std::min(bytes, headers->rbegin()->ByteSizeLong());
    }
  }
}

absl::Status GateFailed(const std::string& name, v1::ValidationResult result) {
  Shrink(&result);
  absl::Status status =
      WithReason(absl::FailedPreconditionError(
                     absl::StrCat("webhook ", Quoted(name), " was not stored: ", result.error())),
                 "VALIDATION_FAILED");
  status.SetPayload(absl::StrCat(std::string(kTypeUrlPrefix), result.GetDescriptor()->full_name()),
                    absl::Cord(result.SerializeAsString()));
  return status;
}

}  // namespace

struct WebhookHandlers::Configure {
  std::string tenant;
  std::string name;
  // As asked for; the values of sensitive headers are not filled in. With a mask only what it names
  // counts, in `asked`.
  Webhook wanted;
  std::optional<google::protobuf::FieldMask> mask;
  v1::Webhook asked;
  std::string etag;
  // For a webhook that is created.
  SigningSecret secret;
  v1::ConfigureWebhookResponse* response;
  CallContext context;
  HandlerDone done;
  // What the receiver has answered 200 to.
  std::optional<Webhook> tested;
  bool created = false;

  // What shall be stored, given what is; and whether it must have passed the gate.
  struct Next {
    Webhook webhook;
    bool gated = false;
  };
  absl::StatusOr<Next> Plan(const std::optional<Webhook>& stored) const;
  absl::StatusOr<Webhook> Wanted(const std::optional<Webhook>& stored) const;
};

absl::StatusOr<Webhook> WebhookHandlers::Configure::Wanted(
    const std::optional<Webhook>& stored) const {
  if (!mask.has_value()) return wanted;
  v1::Webhook merged = WebhookToProto(*stored);
  ApplyMask(*mask, asked, &merged);
  return WebhookFromProto(merged, /*needs_name=*/true);
}

absl::StatusOr<WebhookHandlers::Configure::Next> WebhookHandlers::Configure::Plan(
    const std::optional<Webhook>& stored) const {
  if (mask.has_value() && !stored.has_value()) return NoWebhook(tenant, name);
  if (!etag.empty() && (!stored.has_value() || EtagOf(*stored) != etag)) {
    return EtagMismatch(name, stored.has_value());
  }
  absl::StatusOr<Webhook> asked_for = Wanted(stored);
  if (!asked_for.ok()) return asked_for.status();
  Webhook& next = *asked_for;
  absl::Status merged = MergeSensitiveHeaders(stored.has_value() ? &*stored : nullptr, &next);
  if (!merged.ok()) return merged;

  bool same_request = false;
  if (stored.has_value()) {
    same_request = SameTestRequest(*stored, next);
    next.id = stored->id;
    next.create_time = stored->create_time;
    next.update_time = stored->update_time;
    next.version = stored->version;
    next.secrets = stored->secrets;
    if (same_request) next.validation_state = stored->validation_state;
  } else {
    next.secrets = {secret};
  }
  if (tested.has_value() && SameTestRequest(*tested, next)) {
    next.validation_state = ValidationState::kValid;
  }

  const bool goes_on = stored.has_value() && stored->enabled && same_request;
  if (stored.has_value()) {
    if (!next.enabled) {
      next.disabled_reason = stored->disabled_reason;
      next.failing_since = stored->failing_since;
    } else if (goes_on) {
      next.failing_since = stored->failing_since;
    }
  }
  // A change of something else need not wait for the receiver.
  const bool gated = next.enabled && !(mask.has_value() && goes_on);
  return Next{*std::move(asked_for), gated};
}

void WebhookHandlers::ConfigureWebhook(const v1::ConfigureWebhookRequest& request,
                                       v1::ConfigureWebhookResponse* response,
                                       const CallContext& context, HandlerDone done) {
  if (!request.has_webhook()) return std::move(done)(InvalidField("webhook", "is missing"));
  auto call = std::make_shared<Configure>();
  call->tenant = TenantOrDefault(request.webhook().tenant());
  call->name = request.webhook().name();
  if (request.has_update_mask()) {
    if (absl::Status bad = CheckMask(request.update_mask(), request.webhook()); !bad.ok()) {
      return std::move(done)(std::move(bad));
    }
    call->mask = request.update_mask();
    call->asked = request.webhook();
  } else {
    absl::StatusOr<Webhook> wanted = WebhookFromProto(request.webhook(), /*needs_name=*/true);
    if (!wanted.ok()) return std::move(done)(wanted.status());
    call->wanted = *std::move(wanted);
  }
  call->etag = request.webhook().etag();
  call->secret = {NewSecretKey(random_)};
  call->response = response;
  call->context = context;
  call->done = std::move(done);
  outbox_.GetWebhook(call->tenant, call->name,
                     [this, call](absl::StatusOr<Webhook> stored) {
                       if (stored.ok()) return GateThenStore(call, *std::move(stored));
                       if (absl::IsNotFound(stored.status())) return GateThenStore(call, {});
                       std::move(call->done)(stored.status());
                     });
}

void WebhookHandlers::GateThenStore(std::shared_ptr<Configure> call,
                                    std::optional<Webhook> stored) {
  absl::StatusOr<Configure::Next> next = call->Plan(stored);
  if (!next.ok()) return std::move(call->done)(next.status());
  const Webhook& webhook = next->webhook;
  if (!next->gated || webhook.validation_state == ValidationState::kValid) return Store(call);

  tester_.Test(webhook, call->context,
               [this, call, tested = webhook](absl::StatusOr<v1::ValidationResult> result) mutable {
                 if (!result.ok()) return std::move(call->done)(result.status());
                 if (!result->valid()) {
                   return std::move(call->done)(GateFailed(call->name, *std::move(result)));
                 }
                 call->tested = std::move(tested);
                 *call->response->mutable_validation() = *std::move(result);
                 Store(call);
               });
}

void WebhookHandlers::Store(std::shared_ptr<Configure> call) {
  // May run more than once: what it leaves in `call` is the last run's.
  auto modify =
      [this, call](std::optional<Webhook> stored) -> absl::StatusOr<std::optional<Webhook>> {
    if (absl::Status wanted = call->context.StillWanted(clock_.Now()); !wanted.ok()) return wanted;
    absl::StatusOr<Configure::Next> next = call->Plan(stored);
    if (!next.ok()) return next.status();
    if (next->gated && next->webhook.validation_state != ValidationState::kValid) {
      return ChangedMeanwhile(call->name);
    }
    call->created = !stored.has_value();
    return std::optional<Webhook>(std::move(next->webhook));
  };
  outbox_.ModifyWebhook(call->tenant, call->name, std::move(modify),
                        [call](absl::StatusOr<Webhook> webhook) {
                          if (!webhook.ok()) {
                            call->response->Clear();
                            return std::move(call->done)(webhook.status());
                          }
                          *call->response->mutable_webhook() = WebhookToProto(*webhook);
                          if (call->created) {
                            call->response->set_signing_secret(FormatSecret(call->secret.key));
                          }
                          std::move(call->done)(absl::OkStatus());
                        });
}

void WebhookHandlers::ValidateWebhook(const v1::ValidateWebhookRequest& request,
                                      v1::ValidateWebhookResponse* response,
                                      const CallContext& context, HandlerDone done) {
  switch (request.target_case()) {
    case v1::ValidateWebhookRequest::kRef:
      return ValidateStored(request.ref(), response, context, std::move(done));
    case v1::ValidateWebhookRequest::kWebhook:
      return ValidateUnstored(request.webhook(), response, context, std::move(done));
    case v1::ValidateWebhookRequest::TARGET_NOT_SET:
      break;
  }
  std::move(done)(InvalidField("target", "is missing: set ref or webhook"));
}

void WebhookHandlers::ValidateStored(const v1::WebhookRef& ref,
                                     v1::ValidateWebhookResponse* response,
                                     const CallContext& context, HandlerDone done) {
  std::string tenant = TenantOrDefault(ref.tenant());
  outbox_.GetWebhook(tenant, ref.name(),
                     [this, tenant, name = ref.name(), response, context,
                      done = std::move(done)](absl::StatusOr<Webhook> stored) mutable {
                       if (absl::IsNotFound(stored.status()))
                         return std::move(done)(NoWebhook(tenant, name));
                       if (!stored.ok()) return std::move(done)(stored.status());
                       tester_.Test(*stored, context,
                                    [this, tested = *stored, response, done = std::move(done)](
                                        absl::StatusOr<v1::ValidationResult> result) mutable {
                                      if (!result.ok()) return std::move(done)(result.status());
                                      const bool valid = result->valid();
                                      if (valid && on_valid_) on_valid_(tested.id, tested.version);
                                      *response->mutable_validation() = *std::move(result);
                                      KeepState(std::move(tested), valid, std::move(done));
                                    });
                     });
}

void WebhookHandlers::KeepState(Webhook tested, bool valid, HandlerDone done) {
  const ValidationState state = valid ? ValidationState::kValid : ValidationState::kInvalid;
  // Nothing to change, and so no new version.
  if (tested.validation_state == state) return std::move(done)(absl::OkStatus());
  std::string tenant = tested.tenant;
  std::string name = tested.name;
  // Set when the webhook has become another one meanwhile: the result says nothing of that one.
  auto moot = std::make_shared<bool>(false);
  auto modify = [tested = std::move(tested), state,
                 moot](std::optional<Webhook> stored) -> absl::StatusOr<std::optional<Webhook>> {
    *moot = !stored.has_value() || stored->id != tested.id || !SameTestRequest(*stored, tested) ||
            stored->validation_state == state;
    if (*moot) return absl::AbortedError("the webhook has changed");
    stored->validation_state = state;
    return stored;
  };
  outbox_.ModifyWebhook(std::move(tenant), std::move(name), std::move(modify),
                        [moot, done = std::move(done)](absl::StatusOr<Webhook> webhook) mutable {
                          if (!webhook.ok() && !(*moot && absl::IsAborted(webhook.status()))) {
                            return std::move(done)(webhook.status());
                          }
                          std::move(done)(absl::OkStatus());
                        });
}

void WebhookHandlers::ValidateUnstored(const v1::Webhook& proto,
                                       v1::ValidateWebhookResponse* response,
                                       const CallContext& context, HandlerDone done) {
  absl::StatusOr<Webhook> wanted = WebhookFromProto(proto, /*needs_name=*/false);
  if (!wanted.ok()) return std::move(done)(wanted.status());

  // `found` is what secrets may be borrowed from, NOT_FOUND without one. They go to their own
  // receiver only: else any caller could have them sent to a host of his.
  auto test = [this, response, context, done = std::move(done)](
                  Webhook webhook, const absl::StatusOr<Webhook>& found) mutable {
    if (!found.ok() && !absl::IsNotFound(found.status())) return std::move(done)(found.status());
    const Webhook* stored = found.ok() && SameOrigin(found->url, webhook.url) ? &*found : nullptr;
    absl::Status merged = MergeSensitiveHeaders(stored, &webhook);
    if (!merged.ok()) return std::move(done)(merged);
    if (stored != nullptr) {
      webhook.secrets = stored->secrets;
    } else {
      webhook.secrets = {{NewSecretKey(random_)}};
    }
    tester_.Test(webhook, context, [response, done = std::move(done)](
                              absl::StatusOr<v1::ValidationResult> result) mutable {
      if (!result.ok()) return std::move(done)(result.status());
      *response->mutable_validation() = *std::move(result);
      std::move(done)(absl::OkStatus());
    });
  };
  if (wanted->name.empty()) return test(*std::move(wanted), absl::NotFoundError("no name"));

  std::string tenant = wanted->tenant;
  std::string name = wanted->name;
  outbox_.GetWebhook(
      std::move(tenant), std::move(name),
      [webhook = *std::move(wanted), test = std::move(test)](
          absl::StatusOr<Webhook> stored) mutable { test(std::move(webhook), stored); });
}

void WebhookHandlers::GetWebhook(const v1::GetWebhookRequest& request,
                                 v1::GetWebhookResponse* response, const CallContext& /*context*/,
                                 HandlerDone done) {
  std::string tenant = TenantOrDefault(request.tenant());
  outbox_.GetWebhook(tenant, request.name(),
                     [this, tenant, name = request.name(), response,
                      done = std::move(done)](absl::StatusOr<Webhook> webhook) mutable {
                       if (absl::IsNotFound(webhook.status())) {
                         return std::move(done)(NoWebhook(tenant, name));
                       }
                       if (!webhook.ok()) return std::move(done)(webhook.status());
                       *response->mutable_webhook() = WebhookToProto(*webhook);
                       TellHealth({webhook->id}, {response->mutable_webhook()}, std::move(done));
                     });
}

void WebhookHandlers::TellHealth(std::vector<WebhookId> ids, std::vector<v1::Webhook*> protos,
                                 HandlerDone done) {
  status_.AskHealth(std::move(ids), [protos = std::move(protos), done = std::move(done)](
                                        const std::vector<Health>& healths) mutable {
    for (size_t i = 0; i < protos.size(); ++i) *protos[i]->mutable_health() = ToProto(healths[i]);
    std::move(done)(absl::OkStatus());
  });
}

void WebhookHandlers::ListWebhooks(const v1::ListWebhooksRequest& request,
                                   v1::ListWebhooksResponse* response,
                                   const CallContext& /*context*/, HandlerDone done) {
  std::string tenant = TenantOrDefault(request.tenant());
  std::string tag = absl::StrCat("webhooks:", tenant);
  absl::StatusOr<int> limit = PageLimit(request.page_size());
  if (!limit.ok()) return std::move(done)(limit.status());
  absl::StatusOr<std::string> after = DecodeNameToken(tag, request.page_token());
  if (!after.ok()) return std::move(done)(after.status());
  outbox_.ListWebhooks(
      tenant, *std::move(after), *limit,
      [this, tag = std::move(tag), response,
       done = std::move(done)](absl::StatusOr<WebhookPage> page) mutable {
        if (!page.ok()) return std::move(done)(page.status());
        std::vector<WebhookId> ids;
        std::vector<v1::Webhook*> protos;
        for (const Webhook& webhook : page->rows) {
          ids.push_back(webhook.id);
          protos.push_back(response->add_webhooks());
          *protos.back() = WebhookToProto(webhook);
        }
        if (!page->next_after.empty()) {
          response->set_next_page_token(EncodePageToken(tag, std::string_view(page->next_after)));
        }
        TellHealth(std::move(ids), std::move(protos), std::move(done));
      });
}

void WebhookHandlers::DeleteWebhook(const v1::DeleteWebhookRequest& request,
                                    v1::DeleteWebhookResponse* /*response*/,
                                    const CallContext& /*context*/, HandlerDone done) {
  std::string tenant = TenantOrDefault(request.tenant());
  auto modify = [tenant, name = request.name()](
                    std::optional<Webhook> stored) -> absl::StatusOr<std::optional<Webhook>> {
    if (!stored.has_value()) return NoWebhook(tenant, name);
    return std::optional<Webhook>();
  };
  outbox_.ModifyWebhook(tenant, request.name(), std::move(modify),
                        [done = std::move(done)](absl::StatusOr<Webhook> webhook) mutable {
                          std::move(done)(webhook.status());
                        });
}

void WebhookHandlers::RotateSigningSecret(const v1::RotateSigningSecretRequest& request,
                                          v1::RotateSigningSecretResponse* response,
                                          const CallContext& context, HandlerDone done) {
  std::string tenant = TenantOrDefault(request.tenant());
  absl::Duration overlap = kDefaultOverlap;
  if (request.has_overlap()) {
    FieldViolations violations;
    overlap = FromProto(request.overlap(), "overlap", &violations);
    if (overlap < absl::ZeroDuration() || overlap > kMaxOverlap) {
      violations.Add("overlap", "must be between 0 and 30 days; unset means 24 h");
    }
    if (!violations.empty()) return std::move(done)(violations.ToStatus());
  }
  const absl::Time now = clock_.Now();
  std::string key = NewSecretKey(random_);
  auto modify = [this, tenant, name = request.name(), overlap, now, key,
                 context](std::optional<Webhook> stored) -> absl::StatusOr<std::optional<Webhook>> {
    if (absl::Status wanted = context.StillWanted(clock_.Now()); !wanted.ok()) return wanted;
    if (!stored.has_value()) return NoWebhook(tenant, name);
    std::vector<SigningSecret> secrets = {{key}};
    for (SigningSecret& former : stored->secrets) {
      former.expires = std::min(former.expires, now + overlap);
      if (former.expires > now) secrets.push_back(std::move(former));
    }
    if (secrets.size() > kMaxSecrets) {
      return WithReason(absl::FailedPreconditionError(absl::StrCat(
                            "webhook ", Quoted(name), " has ", secrets.size() - 1,
                            " secrets that still sign: wait until one expires, or rotate with an "
                            "overlap of 0")),
                        "TOO_MANY_SECRETS");
    }
    stored->secrets = std::move(secrets);
    return stored;
  };
  outbox_.ModifyWebhook(
      tenant, request.name(), std::move(modify),
      [key, response, done = std::move(done)](absl::StatusOr<Webhook> webhook) mutable {
        if (!webhook.ok()) return std::move(done)(webhook.status());
        response->set_signing_secret(FormatSecret(key));
        std::move(done)(absl::OkStatus());
      });
}

}  // namespace postrider
