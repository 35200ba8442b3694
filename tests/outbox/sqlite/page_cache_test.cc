#include "src/outbox/sqlite/page_cache.h"

#include <gtest/gtest.h>

#include <vector>

#include "src/outbox/sqlite/database.h"
#include "tests/support/scratch_dir.h"

namespace postrider {
namespace {

constexpr int kPageBytes = 4096;
// The one at 1 GiB, which is in no database.
constexpr unsigned kUnusedPage = (1U << 30) / kPageBytes + 1;

// What the cache beneath was asked to drop.
std::vector<unsigned> g_truncations;
int g_destroyed = 0;

sqlite3_pcache* const kReal = reinterpret_cast<sqlite3_pcache*>(&g_destroyed);

sqlite3_pcache_methods2 Recording() {
  sqlite3_pcache_methods2 methods{};
  methods.iVersion = 1;
  methods.xCreate = [](int, int, int) { return kReal; };
  methods.xFetch = [](sqlite3_pcache* cache, unsigned, int) -> sqlite3_pcache_page* {
    EXPECT_EQ(cache, kReal);
    return nullptr;
  };
  methods.xRekey = [](sqlite3_pcache* cache, sqlite3_pcache_page*, unsigned, unsigned) {
    EXPECT_EQ(cache, kReal);
  };
  methods.xTruncate = [](sqlite3_pcache*, unsigned first) { g_truncations.push_back(first); };
  methods.xDestroy = [](sqlite3_pcache* cache) {
    EXPECT_EQ(cache, kReal);
    ++g_destroyed;
  };
  return methods;
}

// The first of this program to use SQLite, and the last to use what is installed.
TEST(InstallPageCacheTest, ADatabaseUsesIt) {
  const ScratchDir dir;
  {
    auto db = Database::Open(dir.File("some.db"), Database::Mode::kCreate, "");
    ASSERT_TRUE(db.ok()) << db.status();
    ASSERT_TRUE(db->Exec("CREATE TABLE t (x)").ok());
  }
  ASSERT_EQ(sqlite3_shutdown(), SQLITE_OK);
  sqlite3_pcache_methods2 installed{};
  ASSERT_EQ(sqlite3_config(SQLITE_CONFIG_GETPCACHE2, &installed), SQLITE_OK);
  EXPECT_EQ(installed.xTruncate, PageCacheOver(Recording()).xTruncate);
}

class PageCacheTest : public ::testing::Test {
 protected:
  PageCacheTest() { g_truncations.clear(); }
  ~PageCacheTest() override {
    const int before = g_destroyed;
    methods_.xDestroy(cache_);
    EXPECT_EQ(g_destroyed, before + 1);
  }

  const sqlite3_pcache_methods2 methods_ = PageCacheOver(Recording());
  sqlite3_pcache* const cache_ = methods_.xCreate(kPageBytes, 0, 1);
};

TEST_F(PageCacheTest, ThereIsNothingToDropBehindTheLargestPage) {
  methods_.xFetch(cache_, 7, 1);
  methods_.xTruncate(cache_, 8);
  EXPECT_TRUE(g_truncations.empty());
  methods_.xTruncate(cache_, 7);
  EXPECT_EQ(g_truncations, std::vector<unsigned>{7});
  // Page 7 is gone.
  methods_.xTruncate(cache_, 7);
  EXPECT_EQ(g_truncations.size(), 1U);
}

TEST_F(PageCacheTest, ThePageThatNoDatabaseHasDoesNotCount) {
  methods_.xFetch(cache_, 7, 1);
  methods_.xRekey(cache_, nullptr, 7, kUnusedPage);
  methods_.xRekey(cache_, nullptr, kUnusedPage, 7);
  methods_.xTruncate(cache_, 8);
  EXPECT_TRUE(g_truncations.empty());
}

TEST_F(PageCacheTest, PagesOnBothSidesOfItCount) {
  for (const unsigned page : {kUnusedPage - 1, kUnusedPage + 1}) {
    g_truncations.clear();
    methods_.xRekey(cache_, nullptr, 1, page);
    methods_.xTruncate(cache_, page);
    EXPECT_EQ(g_truncations, std::vector<unsigned>{page});
  }
}

TEST_F(PageCacheTest, AnEmptyCacheStaysEmpty) {
  methods_.xFetch(cache_, 3, 2);
  methods_.xTruncate(cache_, 0);
  EXPECT_EQ(g_truncations, std::vector<unsigned>{0});
  methods_.xTruncate(cache_, 1);
  EXPECT_EQ(g_truncations.size(), 1U);
}

}  // namespace
}  // namespace postrider
