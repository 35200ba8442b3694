# All of these are packages of Debian 12 and 13; tools/setup installs them.
find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(spdlog REQUIRED)
find_package(prometheus-cpp REQUIRED)
find_package(CLI11 REQUIRED)
# Headers only: Asio and Beast. Newer CMakes have no module of their own for it.
find_package(Boost 1.74 CONFIG REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(sqlite3 REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(libcurl REQUIRED IMPORTED_TARGET libcurl)
pkg_check_modules(libcares REQUIRED IMPORTED_TARGET libcares)
pkg_check_modules(libidn2 REQUIRED IMPORTED_TARGET libidn2)
pkg_check_modules(openssl REQUIRED IMPORTED_TARGET openssl)
pkg_check_modules(protobuf REQUIRED IMPORTED_TARGET protobuf)
pkg_check_modules(grpc REQUIRED IMPORTED_TARGET grpc++)
find_library(GRPCPP_REFLECTION grpc++_reflection REQUIRED)
find_program(PROTOC protoc REQUIRED)
find_program(GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)
# glibc's allocator costs a tenth more of the processor; the sanitizers bring their own.
add_library(postrider_allocator INTERFACE)
if(NOT POSTRIDER_SANITIZER)
  pkg_check_modules(jemalloc REQUIRED jemalloc)
  # Nothing calls it by name, so the linker would leave it out. One item, which CMake cannot tear
  # apart when it removes repetitions.
  target_link_libraries(postrider_allocator INTERFACE
    -Wl,--push-state,--no-as-needed,${jemalloc_LINK_LIBRARIES},--pop-state)
endif()
