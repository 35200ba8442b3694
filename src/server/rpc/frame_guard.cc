#include "src/server/rpc/frame_guard.h"

#include <algorithm>
#include <cstring>

namespace postrider {
namespace {

constexpr char kPreface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr size_t kPrefaceBytes = sizeof(kPreface) - 1;
constexpr size_t kFrameHeadBytes = 9;

// RFC 9113, 6.
enum FrameType : uint8_t {
  kData = 0,
  kHeaders = 1,
  kResetStream = 3,
  kPing = 6,
  kGoAway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
};
constexpr uint8_t kEndStream = 1;

}  // namespace

bool FrameGuard::Allowance::Spend(int burst, int per_second, absl::Duration now) {
  const double back = absl::ToDoubleSeconds(now - at) * per_second;
  spent = static_cast<float>(std::max(0.0, spent - back)) + 1;
  at = now;
  return spent <= static_cast<float>(burst);
}

const char* FrameGuard::Take(const void* bytes, size_t size, absl::Duration now) {
  const auto* next = static_cast<const uint8_t*>(bytes);
  while (size > 0 && verdict_ == nullptr) {
    if (payload_left_ > 0) {
      const size_t skipped = std::min<size_t>(size, payload_left_);
      payload_left_ -= static_cast<uint32_t>(skipped);
      next += skipped;
      size -= skipped;
      continue;
    }
    const size_t wanted = preface_seen_ ? kFrameHeadBytes : kPrefaceBytes;
    const size_t taken = std::min(size, wanted - head_size_);
    std::memcpy(head_.data() + head_size_, next, taken);
    head_size_ = static_cast<uint8_t>(head_size_ + taken);
    next += taken;
    size -= taken;
    if (head_size_ < wanted) break;
    head_size_ = 0;
    if (preface_seen_) {
      verdict_ = LookAtFrame(now);
    } else if (std::memcmp(head_.data(), kPreface, kPrefaceBytes) != 0) {
      verdict_ = "does not speak HTTP/2";
    }
    preface_seen_ = true;
  }
  return verdict_;
}

const char* FrameGuard::LookAtFrame(absl::Duration now) {
  payload_left_ = static_cast<uint32_t>(head_[0]) << 16 | static_cast<uint32_t>(head_[1]) << 8 |
                  static_cast<uint32_t>(head_[2]);
  const uint8_t type = head_[3];
  const uint8_t flags = head_[4];
  switch (type) {
    case kHeaders:
    case kContinuation:
      header_bytes_ = (type == kHeaders ? 0 : header_bytes_) + kFrameHeadBytes + payload_left_;
      return header_bytes_ > kMaxHeaderBytes ? "sends a header without an end" : nullptr;
    case kResetStream:
      return resets_.Spend(kResetBurst, kResetsPerSecond, now)
                 ? nullptr
                 : "begins calls and gives them up at once, over and over";
    case kData:
      if (payload_left_ > 0 || (flags & kEndStream) != 0) return nullptr;
      break;
    // As many as what we send calls for: a client may measure the way with a PING for each piece of
    // an answer. Of needless ones gRPC has a bound itself.
    case kPing:
    case kWindowUpdate:
    case kGoAway:
      return nullptr;
    // PRIORITY, SETTINGS and what is not known.
    default:
      break;
  }
  return empty_.Spend(kEmptyBurst, kEmptyPerSecond, now) ? nullptr
                                                        : "floods us with frames of nothing";
}

}  // namespace postrider
