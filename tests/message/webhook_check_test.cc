#include "src/message/webhook_check.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace postrider {
namespace {

TEST(ParseUrlTest, TakesUrlsApart) {
  struct Good {
    std::string url, scheme, host;
    int port;
    std::string target;
  };
  const std::vector<Good> good = {
      {"http://a", "http", "a", 80, ""},
      {"https://a/", "https", "a", 443, "/"},
      {"HTTPS://A.Example:8443/p?q=1&r=http://x@y", "https", "A.Example", 8443,
       "/p?q=1&r=http://x@y"},
      {"http://a?q", "http", "a", 80, "?q"},
      {"http://a:1", "http", "a", 1, ""},
      {"http://a:65535/", "http", "a", 65535, "/"},
      {"http://127.0.0.1:80/", "http", "127.0.0.1", 80, "/"},
      {"http://[::1]/x", "http", "::1", 80, "/x"},
      {"https://[2001:db8::1]:444", "https", "2001:db8::1", 444, ""},
      {"http://my_host-1.internal./x", "http", "my_host-1.internal.", 80, "/x"},
      {"http://1password.example/", "http", "1password.example", 80, "/"},
      {"http://xn--bcher-kva.example/%20{id}", "http", "xn--bcher-kva.example", 80, "/%20{id}"},
  };
  for (const Good& g : good) {
    const auto parsed = ParseUrl(g.url);
    ASSERT_TRUE(parsed.ok()) << g.url << ": " << parsed.status();
    EXPECT_EQ(parsed->scheme, g.scheme) << g.url;
    EXPECT_EQ(parsed->host, g.host) << g.url;
    EXPECT_EQ(parsed->port, g.port) << g.url;
    EXPECT_EQ(parsed->target, g.target) << g.url;
  }
}

TEST(UrlAsSentTest, HostsBeyondAsciiAreSentInPunycode) {
  const std::pair<std::string, std::string> urls[] = {
      {"https://b\xc3\xbc"
       "cher.example:8443/a?b",
       "https://xn--bcher-kva.example:8443/a?b"},
      // Not strasse: UTS 46 is non-transitional.
      {"http://stra\xc3\x9f"
       "e.example",
       "http://xn--strae-oqa.example"},
      {"http://B\xc3\x9c"
       "CHER.example/",
       "http://xn--bcher-kva.example/"},
      // A full-width address is one all the same, and is judged as such.
      {"http://\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1/", "http://127.0.0.1/"},
      {"http://A_b.Example/P?q#f", "http://A_b.Example/P?q#f"},
      {"http://a/\xc3\xbc", "http://a/\xc3\xbc"},
      {"nonsense", "nonsense"},
      {"", ""}};
  for (const auto& [url, sent] : urls) {
    const absl::StatusOr<std::string> got = UrlAsSent(url);
    ASSERT_TRUE(got.ok()) << url << ": " << got.status();
    EXPECT_EQ(*got, sent);
  }
  for (const std::string host : {"\xff", "a\xe2\x80\xae"
                                         "b",
                                 "xn--\xc3\xbc"}) {
    EXPECT_FALSE(UrlAsSent("http://" + host + "/").ok()) << host;
  }
}

TEST(TrimHeaderValueTest, BlanksAroundAreNoPartOfIt) {
  EXPECT_EQ(TrimHeaderValue(" \t a b\t"), "a b");
  EXPECT_EQ(TrimHeaderValue("a"), "a");
  EXPECT_EQ(TrimHeaderValue(" \t"), "");
  EXPECT_EQ(TrimHeaderValue(""), "");
}

TEST(ParseUrlTest, RefusesWhatNoWebhookMayHave) {
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"", "is required"},
      {"/path", "must be absolute"},
      {"example.com/x", "must be absolute"},
      {"//example.com/x", "must be absolute"},
      {"http:/example.com", "must be absolute"},
      {"http:example.com", "must be absolute"},
      {"ftp://a/", "must begin with http:// or https://"},
      {"file:///etc/passwd", "must begin with http:// or https://"},
      {" http://a/", "must have no spaces"},
      {"http://a/b c", "must have no spaces"},
      {"http://a/\r\nX: y", "must have no control"},
      {std::string("http://a/\0", 10), "must have no control"},
      {"http://a/\x7f", "must have no control"},
      {"http://a/\t", "must have no control"},
      {"http://b\xc3\xbc"
       "cher/",
       "must be ASCII"},
      {"http://a/#f", "must have no fragment"},
      {"http://a#f", "must have no fragment"},
      {"http://u:p@a/", "must have no user information"},
      {"http://u@a/", "must have no user information"},
      {"http://@a/", "must have no user information"},
      {"http://a\\@b/", "must have no backslashes"},
      {"http://", "must have a host"},
      {"http:///x", "must have a host"},
      {"http://:80/", "must have a host"},
      {"http://?x", "must have a host"},
      {"http://a..b/", "has a host with an empty label"},
      {"http://.a/", "has a host with an empty label"},
      {"http://./", "has a host with an empty label"},
      {"http://a%2eb/", "has a host with characters"},
      {"http://a*b/", "has a host with characters"},
      {"http://" + std::string(64, 'a') + "/", "has a host with a label of more than 63"},
      {"http://" + std::string(126, 'a').replace(63, 1, ".") + "." +
           std::string(127, 'b').replace(63, 1, ".") + "/",
       "has a host of more than 253"},
      {"http://a:/", "must have a port"},
      {"http://a:0/", "must have a port"},
      {"http://a:65536/", "must have a port"},
      {"http://a:-1/", "must have a port"},
      {"http://a:80x/", "must have a port"},
      {"http://a:+80/", "must have a port"},
      {"http://::1/", "must have a host"},
      {"http://[::1/", "has an IPv6 address without"},
      {"http://[]/", "has brackets without"},
      {"http://[::1%25eth0]/", "has brackets without"},
      {"http://[127.0.0.1]/", "has brackets without"},
      {"http://[::1]x/", "has characters after"},
      {"http://127.1/", "has a host that looks like an IPv4"},
      {"http://2130706433/", "has a host that looks like an IPv4"},
      {"http://0x7f000001/", "has a host that looks like an IPv4"},
      {"http://0X7F.0.0.1/", "has a host that looks like an IPv4"},
      {"http://127.0.0.0x1/", "has a host that looks like an IPv4"},
      {"http://0177.0.0.1/", "has a host that looks like an IPv4"},
      {"http://127.0.0.256/", "has a host that looks like an IPv4"},
      {"http://127.0.0.1./", "has a host that looks like an IPv4"},
  };
  for (const auto& [url, message] : bad) {
    const auto parsed = ParseUrl(url);
    ASSERT_FALSE(parsed.ok()) << url;
    EXPECT_EQ(std::string(parsed.status().message()).rfind(message, 0), 0u)
        << url << ": " << parsed.status();
  }
}

TEST(ParseUrlTest, TheBoundIsExact) {
  const std::string start = "http://a/";
  EXPECT_TRUE(ParseUrl(start + std::string(2048 - start.size(), 'x')).ok());
  const auto parsed = ParseUrl(start + std::string(2049 - start.size(), 'x'));
  EXPECT_EQ(parsed.status().message(), "has 2049 bytes, at most 2048 are allowed");
}

using Faults = std::vector<WebhookFault>;

std::vector<std::string> Fields(const Faults& faults) {
  std::vector<std::string> fields;
  for (const auto& fault : faults) fields.push_back(fault.field);
  return fields;
}

TEST(CheckWebhookRequestTest, TakesWhatIsGood) {
  EXPECT_EQ(CheckWebhookRequest("http://a/", {}), Faults{});
  EXPECT_EQ(CheckWebhookRequest("http://a/", {{"Authorization", "Basic eDp5", true},
                                              {"X-Empty", ""},
                                              {"Content-Type", "application/cloudevents+json"},
                                              {"user-agent", "me"},
                                              {"X-Tab", "a\tb \xc3\xa9"},
                                              {"X-Tab", "again"},
                                              {"!#$%&'*+-.^_`|~", "x"}}),
            Faults{});
}

TEST(CheckWebhookRequestTest, NamesEachHeaderByIndex) {
  const Faults faults = CheckWebhookRequest("nonsense", {{"good", "x"},
                                                         {"", "x"},
                                                         {"a b", "x"},
                                                         {"a:", "x"},
                                                         {"h\xc3\xa9", "x"},
                                                         {"X", "a\r\nb"},
                                                         {"X", std::string("\0", 1)},
                                                         {"X", "\x7f"},
                                                         {"bad name", "a\nb"},
                                                         {"Host", "x"}});
  EXPECT_EQ(Fields(faults),
            std::vector<std::string>({"url", "headers[1].name", "headers[2].name",
                                      "headers[3].name", "headers[4].name", "headers[5].value",
                                      "headers[6].value", "headers[7].value", "headers[8].name",
                                      "headers[8].value", "headers[9].name"}));
}

TEST(CheckWebhookRequestTest, PostridersOwnHeadersAreRefused) {
  for (const char* name : {"Host", "CONTENT-LENGTH", "transfer-encoding", "Connection", "Expect",
                           "webhook-id", "Webhook-Signature", "webhook-anything"}) {
    EXPECT_TRUE(IsReservedHeader(name));
    EXPECT_EQ(CheckWebhookRequest("http://a/", {{name, "x"}}),
              (Faults{{"headers[0].name", "is a header that Postrider sets itself"}}));
  }
  for (const char* name : {"Content-Type", "User-Agent", "X-Webhook-Id", "webhook", "Hosts"}) {
    EXPECT_FALSE(IsReservedHeader(name));
  }
}

TEST(CheckWebhookRequestTest, BoundsAreExact) {
  std::vector<Header> headers(64, {"X", "y"});
  EXPECT_TRUE(CheckWebhookRequest("http://a/", headers).empty());
  headers.push_back({"X", "y"});
  EXPECT_EQ(
      CheckWebhookRequest("http://a/", headers),
      (Faults{{"headers[64]", "is one too many: there are 65 headers, at most 64 are allowed"}}));
  headers = {{"Name", std::string(16 * 1024 - 4, 'x')}};
  EXPECT_TRUE(CheckWebhookRequest("http://a/", headers).empty());
  headers.push_back({"X", ""});
  headers.push_back({"Y", "z"});
  EXPECT_EQ(CheckWebhookRequest("http://a/", headers),
            (Faults{{"headers[1]",
                     "is too much: the headers have 16387 bytes of names and values, at most 16384 "
                     "are allowed"}}));
}

}  // namespace
}  // namespace postrider
