#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"

namespace postrider {

// Follows the HTTP/2 frames that a client sends on one connection, and says when it does what no
// honest client does and gRPC 1.51 has no bound of its own for:
// - a header that goes on and on in CONTINUATION frames, of which gRPC copies all that came before
//   with each frame (CVE-2023-33953);
// - calls that are begun and reset at once, over and over (CVE-2023-44487);
// - floods of frames that carry nothing.
// It looks at the nine bytes in front of each frame only; what is in a frame is gRPC's business.
//
// Belongs to whoever reads the connection. 60 bytes.
class FrameGuard {
 public:
  // Of one header with all its CONTINUATION frames. gRPC refuses a call with more metadata than
  // RpcServer allows, which is less, and reads on; beyond this it would have to read too much.
  static constexpr size_t kMaxHeaderBytes = size_t{64} << 10;
  // A client that gives up all its calls at once resets as many as it may have under way.
  static constexpr int kResetBurst = 2000;
  static constexpr int kResetsPerSecond = 500;
  static constexpr int kEmptyBurst = 1000;
  static constexpr int kEmptyPerSecond = 200;

  // Takes the bytes that came next, in pieces of any size; `now` never goes back. Null while all is
  // well, else a sentence's end that says why the connection must be closed; then for good.
  const char* Take(const void* bytes, size_t size, absl::Duration now);

 private:
  // Lets through a burst, and so many a second.
  struct Allowance {
    bool Spend(int burst, int per_second, absl::Duration now);

    float spent = 0;
    absl::Duration at = absl::ZeroDuration();
  };

  const char* LookAtFrame(absl::Duration now);

  // Of the preface and of each frame's head, what came; of the rest of a frame, what is to come.
  std::array<uint8_t, 24> head_{};
  uint8_t head_size_ = 0;
  bool preface_seen_ = false;
  uint32_t payload_left_ = 0;
  size_t header_bytes_ = 0;
  Allowance resets_;
  Allowance empty_;
  const char* verdict_ = nullptr;
};

}  // namespace postrider
