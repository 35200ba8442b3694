#include "src/server/api/reasons.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <string>

// The reasons in the code, in the sources that give them, and in docs/api.md are the same.

namespace postrider {
namespace {

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// By reason: whether its error says when to try again.
std::map<std::string, bool> Known() {
  std::map<std::string, bool> known;
  for (const Reason& reason : kReasons) known[std::string(reason.name)] = reason.retry;
  return known;
}

TEST(ReasonsTest, TheDocumentHasThemAllAndNoOther) {
  const std::string text = ReadFile(std::string(POSTRIDER_SOURCE_DIR) + "/docs/api.md");
  // | `REASON` | CODE | yes or no | meaning |
  const std::regex row(R"(\n\| `([A-Z_]+)` \| [A-Z_, ]+ \| (yes|no) \|[^\n]*\|)");
  std::map<std::string, bool> documented;
  for (std::sregex_iterator it(text.begin(), text.end(), row); it != std::sregex_iterator(); ++it) {
    EXPECT_TRUE(documented.emplace((*it)[1], (*it)[2] == "yes").second) << (*it)[1] << " twice";
  }
  EXPECT_EQ(documented, Known());
}

TEST(ReasonsTest, TheSourcesGiveNoOther) {
  // WithReason(status, "REASON"), whatever stands between.
  const std::regex given(R"re("([A-Z]+(_[A-Z]+)*)"\))re");
  const std::map<std::string, bool> known = Known();
  std::set<std::string> found;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(
           std::string(POSTRIDER_SOURCE_DIR) + "/src/server")) {
    if (entry.path().extension() != ".cc") continue;
    const std::string text = ReadFile(entry.path());
    for (size_t at = text.find("WithReason("); at != std::string::npos;
         at = text.find("WithReason(", at + 1)) {
      const std::string call = text.substr(at, 800);
      std::smatch match;
      if (std::regex_search(call, match, given)) {
        EXPECT_EQ(known.count(match[1]), 1u) << entry.path() << " gives " << match[1];
        found.insert(match[1]);
      }
    }
  }
  EXPECT_GT(found.size(), 10u);
}

}  // namespace
}  // namespace postrider
