#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "src/base/mutex.h"
#include "src/http/address_policy.h"

namespace postrider {

// What a name gets from the DnsServer.
struct DnsRecords {
  enum class Way { kAnswer, kNoSuchName, kServerFailure, kRefusal, kSilence, kHeld };

  Way way = Way::kAnswer;
  // "192.0.2.1" is told to who asks for A, "2001:db8::1" to who asks for AAAA.
  std::vector<std::string> addresses;
  uint32_t ttl_seconds = 60;
  // kHeld: until Release. For who asks for AAAA, when it is another one.
  std::optional<Way> v6_way = std::nullopt;
};

// A name server on a UDP port of 127.0.0.1. Names that it was not told of do not exist.
// Thread-safe.
class DnsServer {
 public:
  DnsServer();
  ~DnsServer();
  DnsServer(const DnsServer&) = delete;
  DnsServer& operator=(const DnsServer&) = delete;

  // "127.0.0.1:PORT"
  std::string Address() const;
  int port() const { return port_; }
  // In lower case, without the last dot.
  void Set(const std::string& name, DnsRecords records);
  // Answers the questions that were held, by what is set for their names now.
  void Release();
  // How many questions of either type came for the name.
  size_t questions(const std::string& name) const;
  // False when fewer have come within a minute.
  bool WaitForQuestions(const std::string& name, size_t count) const;

 private:
  void Run();
  struct Question {
    std::string packet;
    sockaddr_storage client;
    socklen_t client_size;
  };
  void Take(Question question);
  // Empty when the question is not to be answered.
  std::string Answer(const Question& question);

  const int fd_;
  const int stop_;
  int port_ = 0;

  mutable Mutex mutex_;
  mutable CondVar changed_;
  std::map<std::string, DnsRecords> records_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, size_t> questions_ ABSL_GUARDED_BY(mutex_);
  std::vector<Question> held_ ABSL_GUARDED_BY(mutex_);

  std::thread thread_;
};

}  // namespace postrider
