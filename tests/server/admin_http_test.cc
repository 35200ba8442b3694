#include "src/server/admin_http.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <string>

#include "src/server/metrics_page.h"

namespace postrider {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// The whole answer to a GET.
std::string Get(int port, const std::string& path) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
    const std::string request = "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    EXPECT_EQ(send(fd, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
    char buffer[4096];
    for (ssize_t size; (size = recv(fd, buffer, sizeof(buffer), 0)) > 0;) {
      answer.append(buffer, static_cast<size_t>(size));
    }
  }
  close(fd);
  return answer;
}

TEST(AdminHttpTest, ServesItsPages) {
  std::atomic<bool> ready = false;
  auto http = AdminHttp::Start({"127.0.0.1", 0}, {[] { return std::string("figures 1\n"); },
                                                  [&ready] { return ready.load(); }});
  ASSERT_TRUE(http.ok()) << http.status();
  const int port = (*http)->address().port;
  EXPECT_GT(port, 0);
  EXPECT_THAT(Get(port, "/metrics"), HasSubstr("\r\n\r\nfigures 1\n"));
  EXPECT_THAT(Get(port, "/healthz"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(Get(port, "/readyz"), StartsWith("HTTP/1.1 503"));
  ready = true;
  EXPECT_THAT(Get(port, "/readyz"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(Get(port, "/other"), StartsWith("HTTP/1.1 404"));
}

TEST(AdminHttpTest, StartsAndStops) {
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(AdminHttp::Start({"127.0.0.1", 0}, {}).ok());
  }
}

TEST(AdminHttpTest, SaysWhenThePortIsTaken) {
  auto first = AdminHttp::Start({"127.0.0.1", 0}, {});
  ASSERT_TRUE(first.ok());
  auto second = AdminHttp::Start((*first)->address(), {});
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("--http-listen"));
}

TEST(MetricsPageTest, WritesPrometheusText) {
  Counter counter;
  Counter hidden;
  Gauge gauge;
  DurationHistogram histogram;
  counter.Add(3);
  gauge.Set(-2);
  histogram.Observe(0.00015);
  histogram.Observe(1000);
  MetricsPage page;
  page.AddCounter("a_total", "Help.", {{"x", "1"}}, counter);
  page.AddCounter("a_total", "Help.", {{"x", "2"}}, hidden, /*hide_zero=*/true);
  page.AddGauge("b", "Help.", {}, gauge);
  page.AddHistogram("c_seconds", "Help.", {}, histogram);
  AddProcessMetrics(&page);
  const std::string text = page.Text();
  EXPECT_THAT(text, HasSubstr("# TYPE a_total counter\na_total{x=\"1\"} 3\n"));
  EXPECT_THAT(text, Not(HasSubstr("x=\"2\"")));
  EXPECT_THAT(text, HasSubstr("b -2\n"));
  EXPECT_THAT(text, HasSubstr("c_seconds_bucket{le=\"0.0001\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("c_seconds_bucket{le=\"0.0002\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("c_seconds_bucket{le=\"+Inf\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("c_seconds_count 2\n"));
  EXPECT_THAT(text, HasSubstr("process_resident_memory_bytes"));
}

}  // namespace
}  // namespace postrider
