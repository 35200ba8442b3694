#include "src/server/rpc/frame_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/server/rpc/raw_http2.h"

namespace postrider {
namespace {

using ::testing::HasSubstr;

constexpr char kPreface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Why the guard wants an end, or "" while it does not.
class FrameGuardTest : public ::testing::Test {
 protected:
  std::string Take(const std::string& bytes) {
    const char* const why = guard_.Take(bytes.data(), bytes.size(), now_);
    return why == nullptr ? "" : why;
  }
  std::string Frame(RawHttp2::Type type, uint8_t flags, const std::string& payload) {
    return Take(RawHttp2::Frame(type, flags, 1, payload));
  }

  FrameGuard guard_;
  absl::Duration now_ = absl::Hours(1);
};

TEST_F(FrameGuardTest, WhatIsNotHttp2IsEnded) {
  EXPECT_THAT(Take("GET / HTTP/1.1\r\nHost: here\r\n\r\n"), HasSubstr("does not speak"));
}

TEST_F(FrameGuardTest, LetsCallsThroughInPiecesOfAnySize) {
  std::string call = kPreface + RawHttp2::Frame(RawHttp2::kSettings, 0, 0, "");
  for (uint32_t stream = 1; stream < 200; stream += 2) {
    call += RawHttp2::Frame(RawHttp2::kHeaders, RawHttp2::kEndHeaders, stream,
                            RawHttp2::CallHeader("/a.B/C"));
    call += RawHttp2::Frame(RawHttp2::kData, RawHttp2::kEndStream, stream,
                            RawHttp2::Message(std::string(40'000, 'x')));
    call += RawHttp2::Frame(RawHttp2::kWindowUpdate, 0, 0, std::string(4, '\1'));
  }
  for (size_t size = 1; !call.empty(); size = size * 2 % 10'007) {
    ASSERT_EQ(Take(call.substr(0, size)), "");
    call.erase(0, size);
  }
}

TEST_F(FrameGuardTest, AHeaderWithoutAnEndIsEnded) {
  EXPECT_EQ(Take(kPreface), "");
  EXPECT_EQ(Frame(RawHttp2::kHeaders, 0, std::string(1000, 'x')), "");
  std::string why;
  size_t sent = 0;
  for (; why.empty() && sent < 10 * FrameGuard::kMaxHeaderBytes; sent += 1000) {
    why = Frame(RawHttp2::kContinuation, 0, std::string(1000, 'x'));
  }
  EXPECT_THAT(why, HasSubstr("header without an end"));
  EXPECT_LT(sent, FrameGuard::kMaxHeaderBytes);
  // For good.
  EXPECT_NE(Frame(RawHttp2::kHeaders, RawHttp2::kEndHeaders, "x"), "");
}

TEST_F(FrameGuardTest, ContinuationsOfNothingCountToo) {
  EXPECT_EQ(Take(kPreface), "");
  EXPECT_EQ(Frame(RawHttp2::kHeaders, 0, ""), "");
  std::string why;
  for (int i = 0; i < 10'000 && why.empty(); ++i) why = Frame(RawHttp2::kContinuation, 0, "");
  EXPECT_THAT(why, HasSubstr("header without an end"));
}

TEST_F(FrameGuardTest, ManyHeadersThatEndAreFine) {
  EXPECT_EQ(Take(kPreface), "");
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(Frame(RawHttp2::kHeaders, 0, std::string(16'000, 'x')), "");
    ASSERT_EQ(Frame(RawHttp2::kContinuation, RawHttp2::kEndHeaders, std::string(16'000, 'x')), "");
  }
}

TEST_F(FrameGuardTest, RapidResetIsEndedAndGivingUpManyCallsIsNot) {
  EXPECT_EQ(Take(kPreface), "");
  for (int i = 0; i < FrameGuard::kResetBurst; ++i) {
    ASSERT_EQ(Frame(RawHttp2::kResetStream, 0, "1234"), "") << i;
  }
  now_ += absl::Seconds(1);
  for (int i = 0; i < FrameGuard::kResetsPerSecond; ++i) {
    ASSERT_EQ(Frame(RawHttp2::kResetStream, 0, "1234"), "") << i;
  }
  EXPECT_THAT(Frame(RawHttp2::kResetStream, 0, "1234"), HasSubstr("over and over"));
}

TEST_F(FrameGuardTest, FloodsOfNothingAreEnded) {
  for (const RawHttp2::Type type :
       {RawHttp2::kSettings, RawHttp2::kPriority, RawHttp2::kData}) {
    guard_ = FrameGuard();
    EXPECT_EQ(Take(kPreface), "");
    std::string why;
    for (int i = 0; i < 2 * FrameGuard::kEmptyBurst && why.empty(); ++i) {
      why = Frame(type, 0, "");
    }
    EXPECT_THAT(why, HasSubstr("frames of nothing")) << type;
  }
}

}  // namespace
}  // namespace postrider
