#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>

#include "src/base/failure.h"
#include "tests/e2e/filler.h"
#include "tests/e2e/server_process.h"

// A start on files that are not what they should be.

namespace postrider {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string Content(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

// All files of the directory but the lock, which every start writes its number into.
std::map<std::string, std::string> FilesIn(const std::string& directory) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.path().filename() != "lock") files[entry.path().filename()] = Content(entry.path());
  }
  return files;
}

void RunSql(const std::string& database, const std::string& sql) {
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(database.c_str(), &db), SQLITE_OK);
  char* error = nullptr;
  EXPECT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, &error), SQLITE_OK) << error;
  sqlite3_free(error);
  sqlite3_close(db);
}

// A server was there and has stopped.
void MakeDatabase(ServerProcess& server) {
  ASSERT_TRUE(server.Start());
  Filler filler(server.grpc_address());
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(filler.Publish(2000).ok());
  ASSERT_EQ(server.Terminate(), 0);
}

// The start is refused in a sentence that names the file, and changes nothing.
void ExpectStartRefused(ServerProcess& server, ExitCode code, const std::string& why) {
  const auto before = FilesIn(server.data_dir());
  server.Launch();
  EXPECT_EQ(server.process().WaitForEnd(), std::optional<int>(static_cast<int>(code)));
  EXPECT_EQ(server.process().out(), "");
  EXPECT_THAT(server.process().err(), AllOf(HasSubstr(server.database()), HasSubstr(why)));
  EXPECT_TRUE(FilesIn(server.data_dir()) == before) << "the refused files have changed";
}

TEST(DatabaseTest, AFileThatIsNoDatabaseIsRefused) {
  for (const std::string& content :
       {std::string("This is a letter to my aunt.\n"), std::string(), std::string(100000, '\0')}) {
    ServerProcess server;
    std::ofstream(server.database()) << content;
    ExpectStartRefused(server, ExitCode::kData, "not a SQLite database");
  }
}

TEST(DatabaseTest, AnotherProgramsDatabaseIsRefused) {
  ServerProcess server;
  RunSql(server.database(), "CREATE TABLE bookmark (url TEXT); INSERT INTO bookmark VALUES ('x')");
  ExpectStartRefused(server, ExitCode::kData, "not Postrider's");
}

TEST(DatabaseTest, ADatabaseOfANewerVersionIsRefused) {
  ServerProcess server;
  MakeDatabase(server);
  RunSql(server.database(), "PRAGMA user_version = 4711");
  ExpectStartRefused(server, ExitCode::kCannotUse, "4711");
}

TEST(DatabaseTest, ADamagedDatabaseIsRefused) {
  ServerProcess server;
  MakeDatabase(server);
  const std::string whole = Content(server.database());
  ASSERT_GT(whole.size(), 80000u);

  std::ofstream(server.database(), std::ios::binary)
      << whole.substr(0, 40000) << std::string(20000, '\xAB') << whole.substr(60000);
  ExpectStartRefused(server, ExitCode::kData, "is damaged");

  std::ofstream(server.database(), std::ios::binary) << whole.substr(0, 50000);
  ExpectStartRefused(server, ExitCode::kData, "is damaged");

  std::ofstream(server.database(), std::ios::binary) << whole;
  EXPECT_TRUE(server.Start());
}

}  // namespace
}  // namespace postrider
