# How every target of the project is made: warnings, sanitizers, tests.

add_library(olmoe_flags INTERFACE)
target_include_directories(olmoe_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(olmoe_flags INTERFACE -Wall -Wextra -Wno-unused-parameter)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  target_compile_options(olmoe_flags INTERFACE -Wthread-safety)
endif()
if(OLMOE_WERROR)
  target_compile_options(olmoe_flags INTERFACE -Werror)
endif()
if(OLMOE_ODR)  # OlmoeOdr.cmake reads what -flto writes beside the code, which stays the same
  target_compile_options(olmoe_flags INTERFACE -flto -ffat-lto-objects)
  target_link_options(olmoe_flags INTERFACE -fno-lto)
endif()
if(OLMOE_SANITIZE)
  target_compile_options(olmoe_flags INTERFACE -fsanitize=${OLMOE_SANITIZE}
                         -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(olmoe_flags INTERFACE -fsanitize=${OLMOE_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)  # whose manual warns of false ones beside sanitizers
    target_compile_options(olmoe_flags INTERFACE -Wno-maybe-uninitialized)
  endif()
endif()

if(OLMOE_FUZZ)
  target_compile_options(olmoe_flags INTERFACE -fsanitize=fuzzer-no-link)
  target_link_options(olmoe_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# olmoe_library(NAME SRCS a.cc b.cc DEPS other_target)
function(olmoe_library name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SRCS})
  target_link_libraries(${name} PUBLIC olmoe_flags ${ARG_DEPS})
endfunction()

# olmoe_test(NAME SRCS a_test.cc DEPS target): one binary, one ctest entry, labelled with the
# folder under tests/. It finds the checkout by OLMOE_SOURCE_DIR and its data
# through tests/support/test_data.h. TIMEOUT (seconds) is for tests that hang, not for slow machines.
function(olmoe_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SRCS;DEPS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 1800)
  endif()
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE olmoe_flags ${ARG_DEPS} GTest::gmock_main)
  # What is tested is optimized; the tests themselves take a quarter less to compile this way.
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O1>)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name})
  file(RELATIVE_PATH folder ${PROJECT_SOURCE_DIR}/tests ${CMAKE_CURRENT_SOURCE_DIR})
  string(REGEX REPLACE "/.*" "" folder ${folder})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS ${folder}
                       ENVIRONMENT "OLMOE_SOURCE_DIR=${CMAKE_SOURCE_DIR}")
endfunction()
