#include "src/server/observe/logging.h"

#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>
#include <spdlog/async.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <memory>
#include <utility>

#include "absl/time/clock.h"
#include "src/base/utf8.h"

namespace postrider {
namespace {

constexpr size_t kMaxWaitingLines = 8192;

// Set once, and cleared when the process ends.
std::atomic<spdlog::logger*> logger = nullptr;
std::atomic<bool> as_json = false;

const char* NameOf(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarn:
      return "warn";
    case LogLevel::kError:
      return "error";
  }
  return "error";
}

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

std::string JsonString(std::string_view text) {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
  const std::string utf8 = ToUtf8(text);
  writer.String(utf8.data(), static_cast<rapidjson::SizeType>(utf8.size()));
  return std::string(buffer.GetString(), buffer.GetSize());
}

// Bare where that cannot be mistaken, in quotes as JSON has them elsewhere: no value can forge
// another field or another line.
std::string TextValue(std::string_view value) {
  const bool bare = !value.empty() && value.find_first_not_of(
                                          "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                          "0123456789-_.:/[]@%+,") == std::string_view::npos;
  return bare ? std::string(value) : JsonString(value);
}

}  // namespace

std::string FormatLogLine(absl::Time time, LogLevel level, std::string_view message,
                          std::initializer_list<LogField> fields, bool json) {
  const std::string stamp = absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", time, absl::UTCTimeZone());
  std::string line;
  const auto add = [&line, json](std::string_view key, std::string_view value) {
    if (!line.empty()) line += json ? ',' : ' ';
    if (json) {
      line += JsonString(key) + ":" + JsonString(value);
    } else {
      line += std::string(key) + "=" + TextValue(value);
    }
  };
  add("time", stamp);
  add("level", NameOf(level));
  add("msg", message);
  for (const LogField& field : fields) add(field.key, field.value);
  return json ? "{" + line + "}" : line;
}

void InitLogging(const std::string& level, bool json) {
  spdlog::init_thread_pool(kMaxWaitingLines, 1);
  auto created = std::make_shared<spdlog::async_logger>(
      "postrider", std::make_shared<spdlog::sinks::stderr_sink_mt>(), spdlog::thread_pool(),
      spdlog::async_overflow_policy::overrun_oldest);
  created->set_pattern("%v");
  created->set_level(spdlog::level::from_str(level));
  created->flush_on(spdlog::level::debug);
  as_json = json;
  // Never destroyed: a thread of gRPC's may still log while the process ends.
  static auto& keep = *new std::shared_ptr<spdlog::async_logger>();
  keep = std::move(created);
  logger = keep.get();
}

void FlushLogging() {
  logger = nullptr;
  // Ends the thread, which writes what waits first.
  spdlog::shutdown();
}

void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  spdlog::logger* const to = logger;
  if (to == nullptr || !to->should_log(ToSpdlog(level))) return;
  to->log(ToSpdlog(level),
          spdlog::string_view_t(FormatLogLine(absl::Now(), level, message, fields, as_json)));
}

bool LogLimiter::Allow(uint64_t* suppressed) {
  const absl::Duration now = clock_.Monotonic();
  MutexLock lock(&mutex_);
  if (now - second_start_ >= absl::Seconds(1)) {
    second_start_ = now;
    in_second_ = 0;
  }
  if (in_second_ >= per_second_) {
    ++suppressed_;
    return false;
  }
  ++in_second_;
  *suppressed = std::exchange(suppressed_, 0);
  return true;
}

}  // namespace postrider
