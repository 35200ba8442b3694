# postrider_generate_proto(TARGET [GRPC] FILES...): a static library of the generated code of FILES,
# paths below the calling directory. GRPC adds the service stubs. What others wrote lives in
# third_party/proto and not in proto/: clients have packages of their own for it, and a Go program
# that holds the same messages twice panics at its start.
function(postrider_generate_proto target)
  cmake_parse_arguments(ARG "GRPC" "" "FILES" ${ARGN})
  set(root ${CMAKE_CURRENT_SOURCE_DIR})
  set(out ${PROJECT_BINARY_DIR}/proto)
  file(MAKE_DIRECTORY ${out})
  set(sources)
  foreach(file ${ARG_FILES})
    string(REGEX REPLACE "\\.proto$" "" stem ${file})
    set(generated ${out}/${stem}.pb.cc ${out}/${stem}.pb.h)
    set(flags --cpp_out=${out})
    if(ARG_GRPC)
      list(APPEND generated ${out}/${stem}.grpc.pb.cc ${out}/${stem}.grpc.pb.h)
      list(APPEND flags --grpc_out=${out} --plugin=protoc-gen-grpc=${GRPC_CPP_PLUGIN})
    endif()
    add_custom_command(
      OUTPUT ${generated}
      COMMAND ${PROTOC} -I ${root} -I ${PROJECT_SOURCE_DIR}/third_party/proto ${flags} ${file}
      DEPENDS ${root}/${file}
      WORKING_DIRECTORY ${root}
      VERBATIM)
    list(APPEND sources ${generated})
  endforeach()
  add_library(${target} STATIC ${sources})
  target_include_directories(${target} SYSTEM PUBLIC ${out})
  if(POSTRIDER_SANITIZER STREQUAL "tsan")
    target_include_directories(${target} SYSTEM BEFORE PUBLIC ${PROJECT_SOURCE_DIR}/cmake/tsan)
  endif()
  target_link_libraries(${target} PUBLIC PkgConfig::protobuf)
  if(ARG_GRPC)
    target_link_libraries(${target} PUBLIC PkgConfig::grpc)
  endif()
endfunction()
