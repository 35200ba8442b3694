#include "src/server/rpc/socket_hooks.h"

#include <dlfcn.h>
#include <openssl/ssl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <string_view>

#include "absl/time/time.h"
#include "src/server/rpc/frame_guard.h"

namespace postrider {
namespace {

// Zero pages, of which the system gives only those that are written to.
std::atomic<WatchedSocket*> watchers[kMaxWatchedFd];
std::atomic<void (*)(const char*)> tls_cut_off{nullptr};

WatchedSocket* WatcherOf(int fd) {
  if (fd < 0 || fd >= kMaxWatchedFd) return nullptr;
  return watchers[fd].load(std::memory_order_acquire);
}

// A few nanoseconds, unlike a finer one.
absl::Duration CoarseNow() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return absl::DurationFromTimespec(now);
}

void DeleteGuard(void* /*ssl*/, void* guard, CRYPTO_EX_DATA* /*data*/, int /*index*/,
                 long /*argl*/, void* /*argp*/) {
  delete static_cast<FrameGuard*>(guard);
}

// gRPC takes no connection that has not agreed on HTTP/2, under its name or under an older one of
// gRPC's own. No other server here speaks it.
bool IsGrpcServer(const SSL* ssl) {
  if (SSL_is_server(ssl) != 1) return false;
  const unsigned char* name = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(ssl, &name, &size);
  const std::string_view protocol(reinterpret_cast<const char*>(name), size);
  return protocol == "h2" || protocol == "grpc-exp";
}

// True when the connection may go on.
bool TakeFromTls(SSL* ssl, const void* bytes, size_t size) {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, &DeleteGuard);
  auto* guard = static_cast<FrameGuard*>(SSL_get_ex_data(ssl, index));
  if (guard == nullptr) {
    guard = new FrameGuard;
    if (SSL_set_ex_data(ssl, index, guard) != 1) {
      delete guard;
      return false;
    }
  }
  const char* const why = guard->Take(bytes, size, CoarseNow());
  if (why == nullptr) return true;
  if (auto* told = tls_cut_off.load(std::memory_order_relaxed)) told(why);
  return false;
}

}  // namespace

void WatchSocket(int fd, WatchedSocket* watcher) {
  watchers[fd].store(watcher, std::memory_order_release);
}

void OnTlsConnectionCutOff(void (*told)(const char* why)) {
  tls_cut_off.store(told, std::memory_order_relaxed);
}

}  // namespace postrider

// The first two go to the kernel themselves: it is all that the C library's do.
extern "C" {

ssize_t recvmsg(int fd, msghdr* message, int flags) {
  const ssize_t got = syscall(SYS_recvmsg, fd, message, flags);
  if (got <= 0 || (flags & (MSG_PEEK | MSG_ERRQUEUE)) != 0) return got;
  postrider::WatchedSocket* const watcher = postrider::WatcherOf(fd);
  if (watcher == nullptr) return got;
  return watcher->Received(*message, static_cast<size_t>(got)) ? got : 0;
}

int close(int fd) {
  if (postrider::WatcherOf(fd) != nullptr) {
    auto* const watcher =
        postrider::watchers[fd].exchange(nullptr, std::memory_order_acq_rel);
    if (watcher != nullptr) watcher->Closing();
  }
#ifdef __SANITIZE_THREAD__
  // ThreadSanitizer must hear of it: else it takes the next use of the number for a race.
  using Function = int (*)(int);
  static const auto real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "close"));
  return real(fd);
#else
  return static_cast<int>(syscall(SYS_close, fd));
#endif
}

int SSL_read(SSL* ssl, void* buffer, int size) {
  using Function = int (*)(SSL*, void*, int);
  static const auto real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "SSL_read"));
  const int got = real(ssl, buffer, size);
  if (got <= 0 || !postrider::IsGrpcServer(ssl)) return got;
  return postrider::TakeFromTls(ssl, buffer, static_cast<size_t>(got)) ? got : -1;
}

}  // extern "C"
