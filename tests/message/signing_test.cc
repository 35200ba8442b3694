#include "src/message/signing.h"

#include <chrono>
#include <set>
#include <string>

#include "gtest/gtest.h"

namespace postrider {
namespace {

// The vector of Standard Webhooks 1.0.0.
constexpr char kSecret[] = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
constexpr char kId[] = "msg_p5jXN8AQM9LWM0D4loKWxJek";
constexpr char kBody[] = "{\"test\": 2432232314}";
constexpr char kSignature[] = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const absl::Time kTime = absl::FromUnixSeconds(1614265330);

std::string Key() { return *ParseSecret(kSecret); }

TEST(SecretTest, IsParsedAndFormatted) {
  const auto key = ParseSecret(kSecret);
  ASSERT_TRUE(key.ok()) << key.status();
  EXPECT_EQ(key->size(), 24u);
  EXPECT_EQ(FormatSecret(*key), kSecret);
  for (const size_t size : {24, 25, 63, 64}) {
    const std::string raw(size, '\xfe');
    EXPECT_EQ(ParseSecret(FormatSecret(raw)).value(), raw);
  }
}

TEST(SecretTest, BadSecretsAreRefusedWithoutBeingShown) {
  for (const std::string& secret :
       {std::string(), std::string("whsec_"), std::string("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        std::string("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa*w"),
        std::string("whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), FormatSecret(std::string(23, 'x')),
        FormatSecret(std::string(65, 'x'))}) {
    const auto key = ParseSecret(secret);
    EXPECT_EQ(key.status().code(), absl::StatusCode::kInvalidArgument) << secret;
    EXPECT_EQ(std::string(key.status().message()).find("MfKQ"), std::string::npos);
  }
}

TEST(SecretTest, NewOnesDiffer) {
  SecureRandom random;
  std::set<std::string> keys;
  for (int i = 0; i < 100; ++i) {
    keys.insert(NewSecretKey(random));
    EXPECT_EQ(keys.begin()->size(), 32u);
  }
  EXPECT_EQ(keys.size(), 100u);
}

TEST(SignerTest, GivesTheStandardsVector) {
  Signer signer({{Key()}});
  // The same contexts serve every request.
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(signer.Sign(kId, kTime, kBody), kSignature);
    EXPECT_NE(signer.Sign(kId, kTime, "{}"), kSignature);
  }
  EXPECT_EQ(signer.Sign(kId, kTime + absl::Milliseconds(999), kBody), kSignature);
}

TEST(SignerTest, SignsWithEverySecretThatHasNotExpired) {
  const std::string current(32, 'c');
  const std::string former(24, 'f');
  Signer signer({{current}, {former, kTime}, {Key(), kTime + absl::Hours(1)}});
  Signer only_current({{current}});
  Signer only_former({{former}});
  const absl::Time before = kTime - absl::Seconds(1);
  EXPECT_EQ(signer.Sign(kId, before, kBody), only_current.Sign(kId, before, kBody) + " " +
                                                 only_former.Sign(kId, before, kBody) + " " +
                                                 Signer({{Key()}}).Sign(kId, before, kBody));
  EXPECT_EQ(signer.Sign(kId, kTime, kBody),
            only_current.Sign(kId, kTime, kBody) + " " + kSignature);
  EXPECT_EQ(signer.Sign(kId, kTime + absl::Hours(1), kBody),
            only_current.Sign(kId, kTime + absl::Hours(1), kBody));
  EXPECT_EQ(Signer({}).Sign(kId, kTime, kBody), "");
}

TEST(SignerTest, CanBeMoved) {
  Signer a({{Key()}});
  Signer b(std::move(a));
  EXPECT_EQ(b.Sign(kId, kTime, kBody), kSignature);
  Signer c({{std::string(32, 'x')}});
  c = std::move(b);
  EXPECT_EQ(c.Sign(kId, kTime, kBody), kSignature);
}

TEST(SignerTest, ALargeBodyIsSignedWhole) {
  Signer signer({{Key()}});
  std::string body(256 * 1024, 'x');
  const std::string signature = signer.Sign(kId, kTime, body);
  body.back() = 'y';
  EXPECT_NE(signer.Sign(kId, kTime, body), signature);
}

TEST(VerifyTest, AcceptsTheVector) {
  const SignatureHeaders headers{kId, "1614265330", kSignature};
  EXPECT_TRUE(VerifySignature(Key(), headers, kBody, kTime).ok());
  EXPECT_TRUE(VerifySignature(Key(), headers, kBody, kTime + absl::Minutes(5)).ok());
  EXPECT_TRUE(VerifySignature(Key(), headers, kBody, kTime - absl::Minutes(5)).ok());
}

TEST(VerifyTest, FindsItsSignatureAmongOthers) {
  SignatureHeaders headers{kId, "1614265330", ""};
  headers.signature = std::string("v1a,xyz v1,AAAA ") + kSignature + " v2,zzz";
  EXPECT_TRUE(VerifySignature(Key(), headers, kBody, kTime).ok());
  headers.signature = std::string(" ") + kSignature;
  EXPECT_TRUE(VerifySignature(Key(), headers, kBody, kTime).ok());
}

TEST(VerifyTest, RefusesAllElse) {
  const SignatureHeaders good{kId, "1614265330", kSignature};
  const auto refused = [&](const std::string& key, const SignatureHeaders& headers,
                           const std::string& body, absl::Time now) {
    return VerifySignature(key, headers, body, now).code() == absl::StatusCode::kUnauthenticated;
  };
  EXPECT_TRUE(refused(std::string(24, 'x'), good, kBody, kTime));
  EXPECT_TRUE(refused(Key(), good, "{\"test\": 2432232315}", kTime));
  EXPECT_TRUE(refused(Key(), {"msg_other", good.timestamp, good.signature}, kBody, kTime));
  EXPECT_TRUE(refused(Key(), {kId, "1614265331", good.signature}, kBody, kTime));
  EXPECT_TRUE(refused(Key(), {kId, "1614265330x", good.signature}, kBody, kTime));
  EXPECT_TRUE(refused(Key(), {kId, "", good.signature}, kBody, kTime));
  EXPECT_TRUE(refused(Key(), {kId, good.timestamp, ""}, kBody, kTime));
  EXPECT_TRUE(refused(Key(), {kId, good.timestamp, "v1,"}, kBody, kTime));
  EXPECT_TRUE(refused(Key(), {kId, good.timestamp, std::string(kSignature) + "x"}, kBody, kTime));
  EXPECT_TRUE(refused(Key(), good, kBody, kTime + absl::Minutes(5) + absl::Seconds(1)));
  EXPECT_TRUE(refused(Key(), good, kBody, kTime - absl::Minutes(5) - absl::Seconds(1)));
}

// Not a bar, a figure: one thread must sign tens of thousands of requests a second.
TEST(SignerTest, CostIsShown) {
  Signer signer({{Key()}});
  const std::string body(600, 'x');
  constexpr int kRounds = 2000;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kRounds; ++i) signer.Sign(kId, kTime, body);
  const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
  RecordProperty("micros_per_signature", std::to_string(took.count() / kRounds));
  std::printf("%.2f us a signature\n", took.count() / kRounds);
}

}  // namespace
}  // namespace postrider
