#include "src/server/config/config_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "src/server/config/read_file.h"
#include "tests/support/scratch_dir.h"

namespace postrider {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

std::string ErrorOf(const std::string& text) {
  return std::string(ParseConfigFile(text, "x.toml").status().message());
}

TEST(ConfigFileTest, ReadsValuesAndArrays) {
  const auto entries = ParseConfigFile(
      "# first\r\n"
      "\r\n"
      "a = \"x # y\" # comment\r\n"
      "b-c='it\\s'\n"
      "d_1 =\t42\n"
      "e = true\n"
      "f = [ ]\n"
      "g = [\n"
      "  \"1\", # one\n"
      "  2,\n"
      "\n"
      "]\n"
      "h = \"\\\"\\\\\\t\\n\"",
      "x.toml");
  ASSERT_TRUE(entries.ok()) << entries.status();
  ASSERT_EQ(entries->size(), 7u);
  const auto check = [&](size_t i, const char* key, int line,
                         const std::vector<std::string>& values) {
    EXPECT_EQ((*entries)[i].key, key);
    EXPECT_EQ((*entries)[i].line, line) << key;
    EXPECT_EQ((*entries)[i].values, values) << key;
  };
  check(0, "a", 3, {"x # y"});
  check(1, "b-c", 4, {"it\\s"});
  check(2, "d_1", 5, {"42"});
  check(3, "e", 6, {"true"});
  check(4, "f", 7, {});
  check(5, "g", 8, {"1", "2"});
  check(6, "h", 13, {"\"\\\t\n"});
}

TEST(ConfigFileTest, AnEmptyFileHasNoEntries) {
  for (const char* text : {"", "\n\n", "# nothing", "  \t\r\n"}) {
    const auto entries = ParseConfigFile(text, "x.toml");
    ASSERT_TRUE(entries.ok()) << entries.status();
    EXPECT_THAT(*entries, IsEmpty());
  }
}

TEST(ConfigFileTest, FaultsAreNamedWithFileAndLine) {
  EXPECT_THAT(ErrorOf("a = 1\n\n[serve]\n"), AllOf(StartsWith("x.toml:3: "), HasSubstr("tables")));
  EXPECT_THAT(ErrorOf("a = 1\na = 2\n"), AllOf(StartsWith("x.toml:2: "), HasSubstr("twice")));
  EXPECT_THAT(ErrorOf("a 1\n"), AllOf(StartsWith("x.toml:1: "), HasSubstr("`=`")));
  EXPECT_THAT(ErrorOf("a = 1 b = 2\n"), AllOf(StartsWith("x.toml:1: "), HasSubstr("behind")));
  EXPECT_THAT(ErrorOf("a = \"x\ny\"\n"), AllOf(StartsWith("x.toml:1: "), HasSubstr("no end")));
  EXPECT_THAT(ErrorOf("a = \"x"), HasSubstr("no end"));
  EXPECT_THAT(ErrorOf("a = \"\\u0041\"\n"), HasSubstr("escape"));
  EXPECT_THAT(ErrorOf("a = [1 2]\n"), HasSubstr("`,` or `]`"));
  EXPECT_THAT(ErrorOf("a = [1,\n"), StartsWith("x.toml:2: "));
  for (const char* value : {"", "1.5", "-1", "+1", "1_000", "yes", "0x10", "[[1]]", "{}"}) {
    EXPECT_THAT(ErrorOf(std::string("a = ") + value + "\n"),
                AllOf(StartsWith("x.toml:1: "), HasSubstr("the value of a")))
        << value;
  }
  EXPECT_THAT(ErrorOf("= 1\n"), HasSubstr("a key was expected"));
  EXPECT_THAT(ErrorOf(std::string("a = 1\n\0", 7)), StartsWith("x.toml:2: "));
}

TEST(ReadFileTest, ReadsTheWholeOrSaysWhyNot) {
  const ScratchDir directory;
  const std::string path = directory.File("file");
  std::ofstream(path) << std::string(1 << 20, 'x');
  EXPECT_EQ(ReadSmallFile(path)->size(), size_t{1} << 20);
  std::ofstream(path, std::ios::app) << "x";
  EXPECT_THAT(std::string(ReadSmallFile(path).status().message()),
              AllOf(HasSubstr(path), HasSubstr("larger than 1 MiB")));
  EXPECT_THAT(std::string(ReadSmallFile("/nowhere/file").status().message()),
              AllOf(HasSubstr("/nowhere/file"), HasSubstr("No such file")));
  EXPECT_FALSE(ReadSmallFile("/").ok());
}

}  // namespace
}  // namespace postrider
