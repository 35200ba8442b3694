#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "src/cli/input.h"

namespace postrider {

// A webhook receiver for trying things out: takes every request on every path, checks its
// signature, answers, and reports it.
//
// The options' callback runs on the receiver's own thread; the rest belongs to one thread.
class Receiver {
 public:
  enum class Signature { kNotChecked, kValid, kInvalid };

  // A request as it arrived.
  struct Request {
    // From 1.
    int64_t number = 0;
    absl::Time time;
    std::string method;
    // With the query.
    std::string target;
    std::vector<std::pair<std::string, std::string>> headers;
    std::string body;
    Signature signature = Signature::kNotChecked;
    // Why it is not valid, or was not checked.
    std::string signature_error;
    // What it is answered with.
    int status = 0;
  };

  struct Options {
    HostAndPort address;
    // As shown: `whsec_...`; one of them must have signed. They are also read from `secret_file`,
    // one a line, at each request; while there is no such file it counts as empty.
    std::vector<std::string> secrets;
    std::string secret_file;
    int status = 200;
    // So many requests are answered with 500 before the others.
    int64_t fail_first = 0;
    // How long each request waits for its answer.
    absl::Duration delay;
    // Called before the request is answered.
    std::function<void(const Request&)> on_request;
  };

  // Listens. The sentence says why it cannot. REQUIRES: the secrets are well-formed.
  static std::variant<std::unique_ptr<Receiver>, std::string> Start(Options options);
  // Stops: requests that wait are answered at once.
  ~Receiver();

  // With the real port.
  int port() const;

 private:
  struct Impl;
  explicit Receiver(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace postrider
