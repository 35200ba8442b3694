#pragma once

#include <cstdio>
#include <cstdlib>

namespace postrider {

[[noreturn]] inline void FailRequirement(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: REQUIRES %s\n", file, line, condition);
  std::abort();
}

}  // namespace postrider

// Holds a caller to what a header says that it REQUIRES: where that is not so, the program is
// wrong, and ends. In builds with assertions (dev, asan, tsan); in release nothing is looked at.
#ifdef NDEBUG
#define REQUIRE(condition) static_cast<void>(sizeof(static_cast<bool>(condition)))
#else
#define REQUIRE(condition)        \
  (static_cast<bool>(condition) \
       ? static_cast<void>(0)   \
       : ::postrider::FailRequirement(#condition, __FILE__, __LINE__))
#endif
