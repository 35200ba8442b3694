# Linked PRIVATE by each of our own targets; generated code does without.
add_library(postrider_warnings INTERFACE)
target_compile_options(postrider_warnings INTERFACE
  -Werror -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
  -Wno-missing-field-initializers
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>)
