#include "src/outbox/sqlite/page_cache.h"

#include <algorithm>
#include <cstdlib>

namespace postrider {
namespace {

sqlite3_pcache_methods2 g_real;

// The bytes that SQLite locks (PENDING_BYTE); the page that holds them is in no database.
constexpr unsigned kPendingByte = 0x40000000;

struct Cache {
  static Cache& Of(sqlite3_pcache* cache) { return *reinterpret_cast<Cache*>(cache); }

  void Note(unsigned page) {
    if (page != unused_page) largest_page = std::max(largest_page, page);
  }

  sqlite3_pcache* real;
  unsigned unused_page;
  unsigned largest_page;
};

int Init(void* /*argument*/) { return g_real.xInit(g_real.pArg); }
void Shutdown(void* /*argument*/) { g_real.xShutdown(g_real.pArg); }

sqlite3_pcache* Create(int page_bytes, int extra_bytes, int purgeable) {
  sqlite3_pcache* const real = g_real.xCreate(page_bytes, extra_bytes, purgeable);
  if (real == nullptr) return nullptr;
  const unsigned unused_page = kPendingByte / static_cast<unsigned>(page_bytes) + 1;
  return reinterpret_cast<sqlite3_pcache*>(new Cache{real, unused_page, /*largest_page=*/0});
}

void SetSize(sqlite3_pcache* cache, int pages) { g_real.xCachesize(Cache::Of(cache).real, pages); }

int PageCount(sqlite3_pcache* cache) { return g_real.xPagecount(Cache::Of(cache).real); }

sqlite3_pcache_page* Fetch(sqlite3_pcache* cache, unsigned page, int create) {
  Cache::Of(cache).Note(page);
  return g_real.xFetch(Cache::Of(cache).real, page, create);
}

void Unpin(sqlite3_pcache* cache, sqlite3_pcache_page* page, int discard) {
  g_real.xUnpin(Cache::Of(cache).real, page, discard);
}

void Rekey(sqlite3_pcache* cache, sqlite3_pcache_page* page, unsigned from, unsigned to) {
  Cache::Of(cache).Note(to);
  g_real.xRekey(Cache::Of(cache).real, page, from, to);
}

// Drops the pages from `first` on.
void Truncate(sqlite3_pcache* cache, unsigned first) {
  Cache& own = Cache::Of(cache);
  if (first > own.largest_page) return;
  g_real.xTruncate(own.real, first);
  own.largest_page = first == 0 ? 0 : first - 1;
}

void Destroy(sqlite3_pcache* cache) {
  Cache* const own = &Cache::Of(cache);
  g_real.xDestroy(own->real);
  delete own;
}

void Shrink(sqlite3_pcache* cache) { g_real.xShrink(Cache::Of(cache).real); }

bool Install() {
  sqlite3_pcache_methods2 real;
  if (sqlite3_config(SQLITE_CONFIG_GETPCACHE2, &real) != SQLITE_OK) std::abort();
  const sqlite3_pcache_methods2 own = PageCacheOver(real);
  if (sqlite3_config(SQLITE_CONFIG_PCACHE2, &own) != SQLITE_OK) std::abort();
  return true;
}

}  // namespace

sqlite3_pcache_methods2 PageCacheOver(const sqlite3_pcache_methods2& real) {
  g_real = real;
  return {1,     nullptr, Init,  Shutdown, Create,  SetSize, PageCount,
          Fetch, Unpin,   Rekey, Truncate, Destroy, Shrink};
}

void InstallPageCache() { static const bool installed [[maybe_unused]] = Install(); }

}  // namespace postrider
