#include "src/message/request.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "src/message/rendering.h"

namespace postrider {
namespace {

std::shared_ptr<const HttpTarget> MakeTarget(const Webhook& webhook) {
  auto target = std::make_shared<HttpTarget>();
  target->url = webhook.url;
  target->timeout = webhook.timeout;
  for (const Header& header : webhook.headers) {
    target->headers.push_back({header.name, header.value});
  }
  return target;
}

}  // namespace

RequestBuilder::RequestBuilder(const Webhook& webhook, const std::string& version)
    : target_(MakeTarget(webhook)),
      share_(std::hash<std::string>()(webhook.tenant)),
      signer_(webhook.secrets) {
  for (HttpHeader& header : std::vector<HttpHeader>{{"Content-Type", "application/json"},
                                                    {"User-Agent", "postrider/" + version}}) {
    const bool replaced = std::any_of(
        webhook.headers.begin(), webhook.headers.end(),
        [&](const Header& own) { return absl::EqualsIgnoreCase(own.name, header.name); });
    if (!replaced) common_.push_back(std::move(header));
  }
}

TransferRequest RequestBuilder::Build(std::string_view id, absl::Time now,
                                      std::shared_ptr<const std::string> body) {
  TransferRequest request;
  request.target = target_;
  request.share = share_;
  request.headers.reserve(common_.size() + 3);
  request.headers = common_;
  request.headers.push_back({"webhook-id", std::string(id)});
  request.headers.push_back({"webhook-timestamp", std::to_string(absl::ToUnixSeconds(now))});
  std::string signature = signer_.Sign(id, now, *body);
  if (!signature.empty()) {
    request.headers.push_back({"webhook-signature", std::move(signature)});
  }
  request.body = std::move(body);
  return request;
}

TransferRequest BuildTestRequest(const Webhook& webhook, const std::string& version,
                                 absl::Time now) {
  // Receivers remember ids to recognise a repetition: every test has another.
  const std::string id = absl::StrCat("test_", absl::ToUnixNanos(now));
  auto body = std::make_shared<const std::string>(
      RenderRawBody({"postrider", 0, "WEBHOOK_VALIDATION"}, "{}"));
  TransferRequest request = RequestBuilder(webhook, version).Build(id, now, std::move(body));
  request.capture = true;
  return request;
}

}  // namespace postrider
