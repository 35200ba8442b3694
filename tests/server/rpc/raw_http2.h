#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace postrider {

// A client that speaks HTTP/2 frame by frame, to do what gRPC's own client would not. Each call
// waits for up to a minute. Belongs to one thread.
class RawHttp2 {
 public:
  enum Type : uint8_t {
    kData = 0,
    kHeaders = 1,
    kPriority = 2,
    kResetStream = 3,
    kSettings = 4,
    kPing = 6,
    kWindowUpdate = 8,
    kContinuation = 9,
  };
  static constexpr uint8_t kEndStream = 1;
  static constexpr uint8_t kAck = 1;
  static constexpr uint8_t kEndHeaders = 4;

  // Connects to 127.0.0.1, over TLS when there is an authority's file, and says nothing yet. Over
  // TLS it offers that protocol alone.
  explicit RawHttp2(int port, const std::string& tls_ca = "", const char* from = "127.0.0.1",
                    const std::string& protocol = "h2");
  ~RawHttp2();
  RawHttp2(const RawHttp2&) = delete;
  RawHttp2& operator=(const RawHttp2&) = delete;

  bool connected() const;

  // False when the other side has ended the connection, and takes nothing more.
  bool Send(std::string_view bytes);
  // The preface and empty settings.
  bool Greet();
  // Reads, and throws away, what comes until the other side ends it; false when it does not.
  bool WaitForEnd();
  // What comes until it holds `text`; false when the connection ends first.
  bool WaitForBytes(std::string_view text);

  static std::string Frame(Type type, uint8_t flags, uint32_t stream, std::string_view payload);
  // The header of a gRPC call, with another field or none.
  static std::string CallHeader(std::string_view path, std::string_view name = "",
                                std::string_view value = "");
  // A message as gRPC frames it in DATA.
  static std::string Message(std::string_view bytes, bool compressed = false);

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace postrider
