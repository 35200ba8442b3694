#pragma once

// Under ThreadSanitizer protobuf 3.21 gives every map field two more members, but Debian's
// libprotobuf is built without: the two would disagree about where the map lies. So the header is
// read as the library was compiled.

// These look at the macro, too, and must see it.
#include <atomic>
#include <functional>
#include <memory>
#include <string>

#pragma push_macro("__SANITIZE_THREAD__")
#undef __SANITIZE_THREAD__
#include_next <google/protobuf/map_field.h>
#pragma pop_macro("__SANITIZE_THREAD__")
