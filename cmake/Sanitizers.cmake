set(POSTRIDER_SANITIZER "" CACHE STRING "asan (with UBSan), tsan, or nothing")
set_property(CACHE POSTRIDER_SANITIZER PROPERTY STRINGS "" asan tsan)

if(POSTRIDER_SANITIZER STREQUAL "asan")
  # With -O1 UBSan's checks take twice as long to compile.
  # The check of vptrs opens pipes, and so fails what tests the want of descriptors.
  add_compile_options(-O0 -g1 -fsanitize=address,undefined -fno-sanitize=vptr
    -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
  set(sanitizer_options
    "ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1"
    "UBSAN_OPTIONS=print_stacktrace=1")
elseif(POSTRIDER_SANITIZER STREQUAL "tsan")
  add_compile_options(-O1 -g1 -fsanitize=thread -fno-omit-frame-pointer)
  add_link_options(-fsanitize=thread)
  set(sanitizer_options
    "TSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/tsan.supp:second_deadlock_stack=1")
elseif(POSTRIDER_SANITIZER)
  message(FATAL_ERROR "POSTRIDER_SANITIZER is '${POSTRIDER_SANITIZER}': use asan or tsan")
endif()

# ctest reads this before it starts anything, so that each test, each program that a test starts, and
# the listing of tests run with these options. What is set outside counts more.
set(script "")
foreach(option ${sanitizer_options})
  string(REGEX MATCH "^[A-Z]+_OPTIONS" name ${option})
  string(REGEX REPLACE "^[A-Z]+_OPTIONS=" "" value ${option})
  string(APPEND script "if(NOT DEFINED ENV{${name}})\n  set(ENV{${name}} \"${value}\")\nendif()\n")
endforeach()
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/sanitizer_environment.cmake CONTENT "${script}" @ONLY)
set_property(DIRECTORY APPEND PROPERTY
  TEST_INCLUDE_FILES ${PROJECT_BINARY_DIR}/sanitizer_environment.cmake)
