#include "src/server/app/descriptor_budget.h"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "src/server/observe/logging.h"

namespace postrider {
namespace {

// The outbox and its readers, listeners, log, gRPC's pollers, and name servers.
constexpr int64_t kOwn = 64;
// Its loop, wake-ups, and sockets to name servers.
constexpr int64_t kOwnPerPump = 16;
constexpr int64_t kMinReserve = 16;
constexpr int64_t kMaxReserve = 4096;
constexpr int64_t kMaxCallers = 16384;
// With those that are reserved for health pages.
constexpr int64_t kMaxHttp = 4096 + 64;
// What a pump may have under way, and keep beside it.
constexpr int64_t kMaxReceiversPerPump = 8192 + 8 * 1280;
// With fewer of one kind nobody gets anything done.
constexpr int64_t kMinShare = 16;
// Docker and systemd may say that there is no limit at all.
constexpr int64_t kMaxLimit = 1 << 20;

}  // namespace

std::variant<DescriptorBudget, Failure> DivideDescriptors(uint64_t limit, int pumps, int callers) {
  const auto all = static_cast<int64_t>(std::min<uint64_t>(limit, kMaxLimit));
  const int64_t own = kOwn + kOwnPerPump * pumps;
  const int64_t reserve = std::clamp((all - own) / 16, kMinReserve, kMaxReserve);
  const int64_t shared = all - own - reserve;
  const int64_t for_http = std::min(shared / 8, kMaxHttp);
  const int64_t for_callers = callers > 0 ? callers : std::min(shared / 4, kMaxCallers);
  const int64_t per_pump =
      std::min((shared - for_http - for_callers) / pumps, kMaxReceiversPerPump);
  if (for_http < kMinShare || for_callers < 1 || per_pump < kMinShare) {
    return Failure{
        ExitCode::kUnavailable,
        absl::StrCat("the limit of open files is ", all, ", which leaves too few for callers and ",
                     pumps, " pumps: raise it (LimitNOFILE, ulimit -n), or lower "
                     "--grpc-max-connections or --pump-threads")};
  }
  return DescriptorBudget{static_cast<int>(for_callers), static_cast<int>(for_http),
                          static_cast<int>(per_pump), static_cast<int>(own + reserve),
                          static_cast<int>(all)};
}

uint64_t RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return kMaxLimit;
  if (limit.rlim_cur == limit.rlim_max) return limit.rlim_cur;
  const rlimit raised{limit.rlim_max, limit.rlim_max};
  if (setrlimit(RLIMIT_NOFILE, &raised) == 0) return raised.rlim_cur;
  Log(LogLevel::kWarn, "the limit of open files cannot be raised",
      {{"error", std::strerror(errno)}});
  return limit.rlim_cur;
}

}  // namespace postrider
