set(POSTRIDER_SANITIZER "" CACHE STRING "asan (with UBSan), tsan, or nothing")
set_property(CACHE POSTRIDER_SANITIZER PROPERTY STRINGS "" asan tsan)

if(POSTRIDER_SANITIZER STREQUAL "asan")
  add_compile_options(-O1 -g1 -fsanitize=address,undefined -fno-sanitize-recover=all
    -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
elseif(POSTRIDER_SANITIZER STREQUAL "tsan")
  add_compile_options(-O1 -g1 -fsanitize=thread -fno-omit-frame-pointer)
  add_link_options(-fsanitize=thread)
elseif(POSTRIDER_SANITIZER)
  message(FATAL_ERROR "POSTRIDER_SANITIZER is '${POSTRIDER_SANITIZER}': use asan or tsan")
endif()
