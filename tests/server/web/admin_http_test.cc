#include "src/server/web/admin_http.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <list>
#include <string>
#include <utility>

#include "src/server/observe/metrics_page.h"
#include "tests/support/http_client.h"

namespace postrider {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST(AdminHttpTest, ServesItsPages) {
  std::atomic<bool> ready = false;
  auto http = AdminHttp::Start({"127.0.0.1", 0}, {}, {[] { return std::string("figures 1\n"); },
                                                      [&ready] { return ready.load(); }});
  ASSERT_TRUE(http.ok()) << http.status();
  const int port = (*http)->address().port;
  EXPECT_GT(port, 0);
  EXPECT_THAT(HttpGet(port, "/metrics"), HasSubstr("\r\n\r\nfigures 1\n"));
  EXPECT_THAT(HttpGet(port, "/healthz"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(HttpGet(port, "/readyz"), StartsWith("HTTP/1.1 503"));
  ready = true;
  EXPECT_THAT(HttpGet(port, "/readyz"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(HttpGet(port, "/other"), StartsWith("HTTP/1.1 404"));
}

TEST(AdminHttpTest, ManyScrapesShareARendering) {
  std::atomic<int> rendered = 0;
  std::promise<void> begun;
  std::promise<void> go_on;
  AdminHttp::Pages pages;
  pages.ready = [] { return true; };
  pages.metrics = [&] {
    if (rendered++ == 0) {
      begun.set_value();
      go_on.get_future().wait();
    }
    return std::string("figures\n");
  };
  auto http = AdminHttp::Start({"127.0.0.1", 0}, {}, std::move(pages));
  ASSERT_TRUE(http.ok());
  std::list<RawConnection> scrapers;
  for (int i = 0; i < 21; ++i) {
    scrapers.emplace_back((*http)->address().port).Send("GET /metrics HTTP/1.0\r\n\r\n");
    if (i == 0) begun.get_future().wait();
  }
  go_on.set_value();
  for (RawConnection& scraper : scrapers) EXPECT_THAT(scraper.ReadToEnd(), HasSubstr("figures"));
  EXPECT_LT(rendered, 10);
}

TEST(AdminHttpTest, StartsAndStops) {
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(AdminHttp::Start({"127.0.0.1", 0}, {}, {}).ok());
  }
}

TEST(AdminHttpTest, SaysWhenThePortIsTaken) {
  auto first = AdminHttp::Start({"127.0.0.1", 0}, {}, {});
  ASSERT_TRUE(first.ok());
  auto second = AdminHttp::Start((*first)->address(), {}, {});
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
