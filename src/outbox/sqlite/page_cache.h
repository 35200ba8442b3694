#pragma once

#include <sqlite3.h>

namespace postrider {

// SQLite's own page cache, but for one thing. At the end of each transaction SQLite asks it to drop
// the pages behind the end of the database. There are none, as a rule, and the cache knows that
// from the largest page number that it was given. But to balance a tree SQLite (balance_nonroot in
// btree.c, since 3.39) gives a page for a moment the number of the one that lies at 1 GiB, which no
// database uses; after that the cache looks through all of its pages for it: some 0.1 ms a commit
// with 16,000 of them. This remembers the largest number but for that one, and asks for nothing
// when there is nothing.
//
// To be called before anything else of SQLite's by whoever is the first to use it; again it does
// nothing. Thread-safe. Ends the process when SQLite is in use already.
void InstallPageCache();

// What is installed, over `real`: for tests. Only one at a time can be in use.
sqlite3_pcache_methods2 PageCacheOver(const sqlite3_pcache_methods2& real);

}  // namespace postrider
