#pragma once

namespace postrider {

// As CMakeLists.txt has it: what --version prints, and what stands in User-Agent.
inline constexpr char kVersion[] = POSTRIDER_VERSION;

}  // namespace postrider
