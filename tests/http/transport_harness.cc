#include "tests/http/transport_harness.h"

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace postrider {

const Resolver::Answer* ScriptedResolver::Lookup(const std::string& host) {
  if (const auto it = known.find(host); it != known.end()) {
    literal_ = it->second;
    return &literal_;
  }
  const absl::StatusOr<IpAddress> literal = IpAddress::Parse(host);
  if (!literal.ok()) return nullptr;
  literal_ = std::vector<IpAddress>{*literal};
  return &literal_;
}

void ScriptedResolver::Resolve(const std::string& host, uint64_t asking_share, Done done) {
  share = asking_share;
  held_.emplace_back(host, std::move(done));
  if (!holds) loop_.Post([this] { Tell(); });
}

void ScriptedResolver::Tell() {
  std::vector<std::pair<std::string, Done>> held;
  held.swap(held_);
  for (auto& [host, done] : held) std::move(done)(AnswerOf(host));
}

Resolver::Answer ScriptedResolver::AnswerOf(const std::string& host) const {
  if (const auto failure = failures.find(host); failure != failures.end()) return failure->second;
  const auto it = hosts.find(host);
  if (it == hosts.end()) return absl::NotFoundError(absl::StrCat("no host ", host));
  std::vector<IpAddress> addresses;
  for (const std::string& text : it->second) addresses.push_back(IpAddress::Parse(text).value());
  return addresses;
}

namespace {

AddressPolicy PolicyOf(const std::vector<std::string>& allow) {
  std::vector<Cidr> networks;
  for (const std::string& network : allow) networks.push_back(Cidr::Parse(network).value());
  return AddressPolicy(std::move(networks));
}

}  // namespace

TransportHarness::TransportHarness(const Options& options) : resolver(thread.loop()) {
  transport = MakeCurlTransport(options.transport, SystemClock(), thread.loop(), resolver,
                                PolicyOf(options.allow), metrics);
  thread.Start();
}

TransportHarness::~TransportHarness() {
  thread.Stop();
  transport.reset();
}

TransferRequest TransportHarness::Request(const std::string& url, absl::Duration timeout) {
  TransferRequest request;
  request.target = std::make_shared<HttpTarget>(HttpTarget{url, {}, timeout});
  request.body = std::make_shared<std::string>("{}");
  return request;
}

void TransportHarness::Start(TransferRequest request) {
  thread.Call([&] {
    transport->Send(std::move(request),
                    [this](TransferResult result) { results.Put(std::move(result)); });
  });
}

TransferResult TransportHarness::Send(TransferRequest request) {
  const auto told = std::make_shared<Mailbox<TransferResult>>();
  thread.Call([&] {
    transport->Send(std::move(request),
                    [told](TransferResult result) { told->Put(std::move(result)); });
    EXPECT_EQ(told->size(), 0u) << "done was called inside Send";
  });
  const std::vector<TransferResult> results_told = told->WaitFor(1);
  if (results_told.empty()) {
    ADD_FAILURE() << "no result";
    return {};
  }
  return results_told[0];
}

void TransportHarness::CancelAll() {
  thread.Call([this] { transport->CancelAll(); });
}

}  // namespace postrider
