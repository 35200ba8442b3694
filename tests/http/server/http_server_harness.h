#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "src/base/mutex.h"
#include "src/http/server/http_server.h"
#include "tests/support/http_client.h"

namespace postrider {

// A server with a page that is in reserve (/health), one that shows the request (/echo, with a body
// of up to 100 bytes), one that is large (/large), and one whose replies a test holds (/held).
class HttpServerHarness : public ::testing::Test {
 protected:
  static constexpr size_t kLargeBytes = size_t{16} << 20;

  HttpServerHarness() {
    Add("/health", {"GET"}, 0, true,
        [](const HttpRequest&, HttpReply reply) { reply.Send(TextResponse(200, "well")); });
    Add("/echo", {}, 100, false, [](const HttpRequest& request, HttpReply reply) {
      std::string text = request.method + " " + request.target + " " + request.body;
      for (const auto& [name, value] : request.headers) text.append("|" + name + "=" + value);
      reply.Send(TextResponse(200, text));
    });
    Add("/large", {"GET"}, 0, false, [](const HttpRequest&, HttpReply reply) {
      reply.Send(TextResponse(200, std::string(kLargeBytes, 'x')));
    });
    Add("/held", {"GET"}, 0, false, [this](const HttpRequest&, HttpReply reply) {
      MutexLock lock(&mutex_);
      held_.push_back(std::move(reply));
    });
    options_.host = "127.0.0.1";
    options_.limits.max_held_bytes = 2 * kLargeBytes;
    options_.on_accept_trouble = [this](const std::string& why) {
      MutexLock lock(&mutex_);
      troubles_.push_back(why);
    };
  }

  void Start() {
    auto listening = HttpServer::Listen(options_);
    ASSERT_TRUE(listening.ok()) << listening.status();
    server_ = *std::move(listening);
    server_->Start();
  }

  int port() const { return server_->port(); }
  HttpServerLimits& limits() { return options_.limits; }
  std::string Get(const std::string& path) { return HttpGet(port(), path); }

  // The reply of the next request to /held.
  HttpReply TakeHeld() {
    std::optional<HttpReply> reply;
    EXPECT_TRUE(Eventually([&] {
      MutexLock lock(&mutex_);
      if (held_.empty()) return false;
      reply.emplace(std::move(held_.front()));
      held_.erase(held_.begin());
      return true;
    }));
    return *std::move(reply);
  }
  std::vector<std::string> Troubles() {
    MutexLock lock(&mutex_);
    return troubles_;
  }

  static bool Eventually(const std::function<bool()>& holds) {
    for (const absl::Time end = absl::Now() + absl::Seconds(60); absl::Now() < end;) {
      if (holds()) return true;
      absl::SleepFor(absl::Milliseconds(2));
    }
    return false;
  }

  HttpServerOptions options_;
  Mutex mutex_;
  std::vector<HttpReply> held_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> troubles_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<HttpServer> server_;

 private:
  void Add(const std::string& path, std::vector<std::string> methods, size_t body, bool in_reserve,
           std::function<void(HttpRequest, HttpReply)> handle) {
    HttpRoute route;
    route.path = path;
    route.methods = std::move(methods);
    route.max_body_bytes = body;
    route.in_reserve = in_reserve;
    route.handle = std::move(handle);
    options_.routes.push_back(std::move(route));
  }
};

}  // namespace postrider
