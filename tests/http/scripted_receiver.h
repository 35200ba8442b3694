#pragma once

#include <openssl/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "tests/http/certificate.h"

namespace postrider {

// A receiver whose every byte a test writes, plain or over TLS, on 127.0.0.1. Each connection is
// served by a script on a thread of its own.
//
// Owned by one thread.
class ScriptedReceiver {
 public:
  // One connection; it is closed when the script returns. Owned by the script's thread.
  class Connection {
   public:
    Connection(int fd, SSL* tls, int number) : fd_(fd), tls_(tls), number_(number) {}

    // They are counted from 0.
    int number() const { return number_; }
    int fd() const { return fd_; }
    // Null on a plain one.
    SSL* tls() const { return tls_; }

    // The next request's headers and body, which has a Content-Length; nothing when the connection
    // ends before.
    std::optional<std::string> ReadRequest();
    // Whatever comes next; empty at the end.
    std::string ReadSome();
    void Write(std::string_view bytes);
    // On the socket itself, also where there is TLS.
    void WriteBelowTls(std::string_view bytes);
    // A ticket for a session: bytes of TLS's own. REQUIRES: TLS 1.3.
    void WriteTicket();
    // Says that nothing more comes, of TLS first.
    void Shutdown();
    // Ends the connection with a reset, at once. Nothing may be done with it afterwards.
    void Reset();
    // Requests are lost on the way from now on: the kernel drops segments with data, and does not
    // acknowledge them.
    void DropData();

   private:
    const int fd_;
    SSL* const tls_;
    const int number_;
    std::string input_;
  };
  using Script = std::function<void(Connection&)>;

  struct Tls {
    const Certificate* certificate = nullptr;
    // Such as TLS1_3_VERSION; that one alone.
    int version = 0;
    bool wants_client_certificate = false;
    // Asks for one, but goes on without it.
    bool asks_for_client_certificate = false;
    // Refuses who does not offer HTTP/2.
    bool http2_only = false;
  };

  explicit ScriptedReceiver(Script script);
  ScriptedReceiver(Script script, const Tls& tls);
  // Data is lost from the first on.
  struct DropsData {};
  ScriptedReceiver(Script script, DropsData);
  // Ends the connections, and waits for their scripts.
  ~ScriptedReceiver();
  ScriptedReceiver(const ScriptedReceiver&) = delete;
  ScriptedReceiver& operator=(const ScriptedReceiver&) = delete;

  int port() const;
  // "https://127.0.0.1:PORT/hook" or the same with http.
  std::string Url() const;
  // Those that were ever accepted.
  int connection_count() const;

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace postrider
