# Every third-party package, found once. Debian 12 has all of them: deploy/packages.txt.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(Protobuf REQUIRED)
find_package(glog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto SSL)
find_package(ICU REQUIRED COMPONENTS uc)
pkg_check_modules(MUPARSER REQUIRED IMPORTED_TARGET muparser)
if(OLMOE_BUILD_TESTS)
  find_package(GTest REQUIRED)
endif()

if(OLMOE_BUILD_SERVER)
  find_package(Boost 1.74 REQUIRED)  # its headers: Asio, Beast and Math
  find_package(CLI11 REQUIRED)
  find_package(prometheus-cpp REQUIRED COMPONENTS core)
  find_package(ZLIB REQUIRED)
  # gRPC: Debian's 1.51, which has no security fixes, or a newer one given by CMAKE_PREFIX_PATH:
  # all three look there first. By their headers 1.60 to 1.62 have what rpc/ uses.
  pkg_check_modules(GRPC REQUIRED IMPORTED_TARGET grpc++)
  find_library(GRPC_REFLECTION_LIBRARY grpc++_reflection REQUIRED)
  find_program(GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)
  message(STATUS "gRPC ${GRPC_VERSION}: ${GRPC_REFLECTION_LIBRARY}")
  pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)

  # LibTorch: Debian's 1.13, or a newer one given by CMAKE_PREFIX_PATH. Only its
  # libraries and include directories are taken: its compile options (-D_GLIBCXX..,
  # -std=gnu++14) are for its own build.
  find_package(Torch REQUIRED)
  add_library(olmoe_torch INTERFACE)
  target_include_directories(olmoe_torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
  target_link_libraries(olmoe_torch INTERFACE ${TORCH_LIBRARIES})
  if(OLMOE_BUILD_BENCHMARKS)
    find_package(benchmark REQUIRED)
  endif()
endif()
