# How a folder of the house becomes a library.
#
# Includes are written from the root ("codec/frame.h"), but no target sees the root: each library offers one
# directory that holds nothing but a link to its own folder. What a target does not link, it cannot
# include, so a wrong direction does not compile.

add_library(fanfare_flags INTERFACE)
target_compile_options(fanfare_flags INTERFACE
  -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Wnon-virtual-dtor -Wold-style-cast -Wcast-qual
  -Wformat=2 -Wimplicit-fallthrough
  # Designated initializers leave the other members at their defaults, on purpose.
  -Wno-missing-field-initializers
  -fno-omit-frame-pointer)
if(FANFARE_WERROR)
  target_compile_options(fanfare_flags INTERFACE -Werror)
endif()
if(FANFARE_SANITIZE)
  target_compile_options(fanfare_flags INTERFACE -fsanitize=${FANFARE_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(fanfare_flags INTERFACE -fsanitize=${FANFARE_SANITIZE})
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Debug" OR FANFARE_SANITIZE)
  target_compile_definitions(fanfare_flags INTERFACE FANFARE_DCHECK)
endif()
# Every object of a fuzz build is instrumented; only the fuzz targets link libFuzzer's main.
if(FANFARE_FUZZ)
  target_compile_options(fanfare_flags INTERFACE -fsanitize=fuzzer-no-link)
  target_link_options(fanfare_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# fanfare_library(NAME FOLDER SOURCES… [LINK PUBLIC…] [LINK_PRIVATE …] [EXCEPTIONS])
function(fanfare_library name folder)
  cmake_parse_arguments(ARG "EXCEPTIONS" "" "SOURCES;LINK;LINK_PRIVATE" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  set(view ${CMAKE_BINARY_DIR}/include/${name})
  cmake_path(GET folder PARENT_PATH parent)
  file(MAKE_DIRECTORY ${view}/${parent})
  if(NOT EXISTS ${view}/${folder})
    file(CREATE_LINK ${CMAKE_SOURCE_DIR}/${folder} ${view}/${folder} SYMBOLIC)
  endif()
  target_include_directories(${name} PUBLIC ${view})
  target_link_libraries(${name} PUBLIC fanfare_flags ${ARG_LINK} PRIVATE ${ARG_LINK_PRIVATE})
  if(NOT ARG_EXCEPTIONS)
    # Product code reports by values; nothing unwinds.
    target_compile_options(${name} PRIVATE -fno-exceptions -fno-rtti)
  endif()
endfunction()

# fanfare_test(NAME SOURCES… LINK …): one GoogleTest executable, one ctest entry.
function(fanfare_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LINK;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE fanfare_flags ${ARG_LINK} GTest::gtest GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "unit;${ARG_LABELS}")
endfunction()
