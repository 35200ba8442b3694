#include "src/message/masking.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace postrider {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Masked(const std::vector<Header>& headers, std::string text, bool cut = false) {
  return EchoMasker(headers).Mask(std::move(text), cut);
}

std::string Json(const std::string& text, bool slashes) {
  std::string escaped;
  for (const char c : text) {
    if (c == '"' || c == '\\' || (slashes && c == '/')) {
      absl::StrAppend(&escaped, "\\", std::string(1, c));
    } else if (c == '\t') {
      escaped += "\\t";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

std::string AllAs(const std::string& text, const std::string& before, const std::string& after,
                  bool upper) {
  std::string escaped;
  for (const char c : text) {
    const std::string hex = absl::StrFormat("%02x", static_cast<unsigned char>(c));
    absl::StrAppend(&escaped, before, upper ? absl::AsciiStrToUpper(hex) : hex, after);
  }
  return escaped;
}

std::string Percent(const std::string& text, bool upper, bool plus) {
  std::string escaped;
  for (const char c : text) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c))) {
      escaped += c;
    } else if (c == ' ' && plus) {
      escaped += '+';
    } else {
      escaped += AllAs(std::string(1, c), "%", "", upper);
    }
  }
  return escaped;
}

std::string Html(const std::string& text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"},
                                    {"<", "&lt;"},
                                    {">", "&gt;"},
                                    {"\"", "&quot;"},
                                    {"'", "&#39;"},
                                    {"/", "&#x2F;"},
                                    {"=", "&#061;"}});
}

const std::vector<Header> kBearer = {{"Authorization", "Bearer sk/live+Ab\"c&d=9 z", false}};

TEST(MaskingTest, AnEchoIsFoundByteForByte) {
  const std::vector<Header> headers = {{"X-Team", "visible-team", false},
                                       {"X-Pin", "hidden-pin", true},
                                       {"Authorization", "Bearer topsecret", false}};
  EXPECT_EQ(Masked(headers, "visible-team hidden-pin Bearer topsecret hidden-pin."),
            "visible-team *** Bearer *** ***.");
  EXPECT_EQ(Masked(headers, "no such token: topsecret"), "no such token: ***");
  EXPECT_EQ(Masked({}, "text"), "text");
  EXPECT_EQ(Masked(headers, ""), "");
}

TEST(MaskingTest, AnEchoIsFoundInAnyEncoding) {
  const std::string secret = "sk/live+Ab\"c&d=9 z";
  const std::string echoes[] = {
      secret,
      Json(secret, true),
      Json(secret, false),
      AllAs(secret, "\\u00", "", false),
      AllAs(secret, "\\u00", "", true),
      AllAs(secret, "\\x", "", true),
      Percent(secret, true, false),
      Percent(secret, false, true),
      AllAs(secret, "%", "", false),
      Html(secret),
      AllAs(secret, "&#x", ";", true),
      absl::AsciiStrToUpper(secret),
      absl::AsciiStrToLower(secret),
      Json(Html(secret), true),
      Json(Json(secret, true), true),
      Html(Percent(secret, true, false)),
      Percent(Json(secret, true), false, false),
      absl::Base64Escape(secret),
      absl::WebSafeBase64Escape(secret),
      absl::Base64Escape("x" + secret),
      absl::Base64Escape("xy" + secret + "z"),
      Json(absl::Base64Escape(secret), true),
      Percent(absl::Base64Escape(secret), true, false),
  };
  for (const std::string& echo : echoes) {
    EXPECT_EQ(Masked(kBearer, "{\"got\": \"" + echo + "\"}").find("sk"), std::string::npos) << echo;
    EXPECT_THAT(Masked(kBearer, "<" + echo + ">"), Not(HasSubstr(echo.substr(3, 6)))) << echo;
    EXPECT_LT(Masked(kBearer, "<" + echo + ">").size(), 14u) << echo;
  }
  EXPECT_EQ(Masked(kBearer, absl::Base64Escape("Bearer " + secret)), "QmVhcmVyI***==");
}

TEST(MaskingTest, ASecretThatLooksEscapedItselfIsFound) {
  const std::string secret = "s%3Aab\\nc&amp;%2541/\"x";
  const std::vector<Header> headers = {{"Cookie", "session=" + secret, false}};
  for (const std::string& echo : {secret, Json(secret, true), Percent(secret, true, true),
                                  Html(secret), AllAs(secret, "\\u00", "", true)}) {
    EXPECT_LT(Masked(headers, "<" + echo + ">").size(), 10u) << echo;
  }
}

TEST(MaskingTest, BasicCredentialsAreMaskedDecodedAndApart) {
  const std::vector<Header> headers = {
      {"Authorization", "Basic " + absl::Base64Escape("warehouse:hunt"), false}};
  EXPECT_EQ(Masked(headers, "user warehouse, password hunt!"), "user ***, password ***!");
  EXPECT_EQ(Masked(headers, "{\"a\":\"warehouse:hunt\"}"), "{\"a\":\"***\"}");
  EXPECT_EQ(Masked(headers, absl::Base64Escape("warehouse:hunt")), "***");
  EXPECT_EQ(Masked(headers, "the hunter"), "the hunter");
}

TEST(MaskingTest, ValuesOfCookiesAreMaskedAlone) {
  const std::vector<Header> headers = {{"Cookie", "a=1; sid=abc123; long=\"0123456789ab\"", false}};
  EXPECT_EQ(Masked(headers, "[abc123] [0123456789ab] [a] [1]"), "[***] [***] [a] [1]");
}

TEST(MaskingTest, ShortSecretsAreMaskedAsWordsAndTheShortestNotAtAll) {
  const std::vector<Header> headers = {{"X-Pin", "7391", true}, {"X-Two", "ok", true}};
  EXPECT_EQ(Masked(headers, "{\"pin\":\"7391\"} 173912 ok"), "{\"pin\":\"***\"} 173912 ok");
}

TEST(MaskingTest, NoEightBytesOfASecretAreShown) {
  const std::vector<Header> headers = {{"X-Key", "abcdefghijklmnop", true}};
  EXPECT_EQ(Masked(headers, "abcdefgh... ...ijklmnop, efghijklmno, abcdefg"),
            "***... ...***, ***, abcdefg");
}

TEST(MaskingTest, OverlappingSecretsAreMaskedWhole) {
  const std::vector<Header> headers = {{"X-Key", "secret1", true},
                                       {"X-Key-2", "secret12345", true}};
  EXPECT_EQ(Masked(headers, "secret12345 secret1"), "*** ***");
}

TEST(MaskingTest, ASecretThatIsCutAtTheEndIsMasked) {
  const std::vector<Header> headers = {{"Authorization", "Bearer top/secret-value", false}};
  for (const std::string& whole :
       {std::string("top/secret-value"), Json("top/secret-value", true),
        Percent("top/secret-value", true, true), AllAs("top/secret-value", "\\u00", "", false),
        AllAs("top/secret-value", "&#x", ";", false)}) {
    // Where the third byte of the secret ends at the latest.
    const size_t first = whole.size() / 16 * 3;
    for (size_t size = first; size < whole.size(); ++size) {
      const std::string shown = Masked(headers, "cut: " + whole.substr(0, size), /*cut=*/true);
      EXPECT_EQ(shown, "cut: ***") << whole.substr(0, size);
    }
  }
  EXPECT_EQ(Masked(headers, "not cut: top", /*cut=*/false), "not cut: top");
}

TEST(MaskingTest, TextWithoutSecretsStaysAsItIs) {
  const std::string text =
      "{\"error\":\"caf\\u00e9 100% \\\\ & &amp; %zz\",\"aGVsbG8gd29ybGQ=\":1}";
  EXPECT_EQ(Masked(kBearer, text, /*cut=*/true), text);
}

// Random secrets in random encodings, within text that has escapes of its own, cut anywhere: never
// are four bytes of one shown at the end of the text, nor eight anywhere.
TEST(MaskingTest, RandomSecretsInRandomEncodingsAreNeverShown) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  const auto below = [&random](size_t n) { return static_cast<size_t>(random() % n); };
  // Without a backslash: up to seven bytes may stay where one comes before another escape.
  const std::string alphabet =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/=-_.~:;,%&\"'<>()@ ";
  const auto encode = [&](const std::string& text) {
    switch (below(8)) {
      case 0:
        return text;
      case 1:
        return Json(text, below(2) == 0);
      case 2:
        return Percent(text, below(2) == 0, below(2) == 0);
      case 3:
        return Html(text);
      case 4:
        return AllAs(text, "\\u00", "", below(2) == 0);
      case 5:
        return AllAs(text, "%", "", below(2) == 0);
      case 6:
        return below(2) == 0 ? absl::AsciiStrToUpper(text) : absl::AsciiStrToLower(text);
      default:
        return AllAs(text, "&#x", ";", below(2) == 0);
    }
  };
  for (int round = 0; round < 500; ++round) {
    std::string secret = "A";
    const size_t size = 8 + below(60);
    while (secret.size() < size) secret += alphabet[below(alphabet.size())];
    secret += "Z";
    const std::vector<Header> headers = {{"Authorization", "Bearer " + secret, false}};
    const std::string once = encode(secret);
    const std::string echo = below(3) == 0 ? encode(once) : once;
    const std::string before = below(2) == 0 ? "{\"x\\\\\":\"%41\",\"echo\":\"" : "<p>&amp; \\n ";
    const std::string text = before + echo;
    const std::string whole = Masked(headers, text + "\"} and more");
    EXPECT_LE(whole.size(), before.size() + 3 + 11) << secret << "\n" << text << "\n" << whole;

    // So long is a byte of the secret on average; one that is encoded twice may be longer.
    const size_t step = (echo.size() + secret.size() - 1) / secret.size();
    const size_t at = before.size() + below(echo.size());
    const std::string cut = Masked(headers, text.substr(0, at), /*cut=*/true);
    const size_t shown = cut.size() - std::min(cut.size(), before.size());
    EXPECT_LT(shown, 4 * std::max<size_t>(step, 15)) << secret << "\n" << text << "\n" << cut;
  }
}

// What an adversary can make of headers and answers: all the table, all readings, all matches.
TEST(MaskingTest, TheWorstTextIsMaskedWhole) {
  std::vector<Header> headers;
  for (int i = 0; i < 62; ++i) {
    headers.push_back({absl::StrCat("X-", i), std::string(250, 'a'), true});
  }
  EXPECT_EQ(Masked(headers, std::string(4096, 'a'), /*cut=*/true), "***");
  std::string nested;
  while (nested.size() < 4096) nested += "%252561";
  EXPECT_EQ(Masked(headers, nested), "***");
}

TEST(SensitiveTest, AlwaysForCredentials) {
  for (const char* name : {"Authorization", "PROXY-AUTHORIZATION", "cookie", "X-Api-Key", "apikey",
                           "X-Auth-Token", "Client-Secret", "TOKENS", "monkey"}) {
    EXPECT_TRUE(IsAlwaysSensitive(name)) << name;
  }
  for (const char* name : {"X-Team", "Content-Type", "Set-Cookie2", "Authorization-Info", ""}) {
    EXPECT_FALSE(IsAlwaysSensitive(name)) << name;
  }
}

}  // namespace
}  // namespace postrider
