#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "src/base/metrics.h"
#include "src/http/curl_transport.h"
#include "src/http/resolver.h"
#include "src/http/transport.h"
#include "tests/http/loop_thread.h"
#include "tests/support/http_sink.h"

namespace postrider {

// A resolver that knows what the test says, and literals. Owned by the loop's thread.
class ScriptedResolver final : public Resolver {
 public:
  explicit ScriptedResolver(EventLoop& loop) : loop_(loop) {}

  const Answer* Lookup(const std::string& host) override;
  void Resolve(const std::string& host, uint64_t share, Done done) override;
  bool WaitsForTurn(const std::string&) const override { return waits_for_turn; }
  void Reload() override {}

  // Known without asking, as failures that are remembered.
  std::map<std::string, absl::Status> known;
  // What Resolve tells, other than addresses.
  std::map<std::string, absl::Status> failures;
  // A host that is not here has no address. Addresses must be well-formed.
  std::map<std::string, std::vector<std::string>> hosts;
  // Keeps the answers back from now on; Tell gives them.
  bool holds = false;
  // What WaitsForTurn says of what is kept back.
  bool waits_for_turn = false;
  // Of the last Resolve.
  uint64_t share = 0;
  void Tell();
  size_t held() const { return held_.size(); }

 private:
  Answer AnswerOf(const std::string& host) const;

  EventLoop& loop_;
  Answer literal_;
  std::vector<std::pair<std::string, Done>> held_;
};

// The real transport in a loop of its own, for a test that waits for what comes of its requests.
class TransportHarness {
 public:
  struct Options {
    std::vector<std::string> allow = {"127.0.0.0/8", "::1"};
    CurlTransportOptions transport;
  };

  TransportHarness() : TransportHarness(Options()) {}
  explicit TransportHarness(const Options& options);
  ~TransportHarness();

  // With a body of "{}".
  static TransferRequest Request(const std::string& url,
                                 absl::Duration timeout = absl::Seconds(60));

  // Its result comes into `results`.
  void Start(TransferRequest request);
  // Waits for what comes of it.
  TransferResult Send(TransferRequest request);
  TransferResult Send(const std::string& url) { return Send(Request(url)); }
  void CancelAll();

  LoopThread thread;
  // Touch it in thread.Call alone.
  ScriptedResolver resolver;
  TransportMetrics metrics;
  Mailbox<TransferResult> results;
  // Owned by the loop's thread.
  std::unique_ptr<Transport> transport;
};

}  // namespace postrider
