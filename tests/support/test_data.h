// Where tests find data. Small goldens are in tests/data; the large ones are in
// ../shared beside the checkout and may be absent: then a test skips and says so.
#ifndef OLMOE_TESTS_SUPPORT_TEST_DATA_H_
#define OLMOE_TESTS_SUPPORT_TEST_DATA_H_

#include <string>

#include "gtest/gtest.h"

namespace olmoe::testing {

// A path inside the checkout.
std::string SourcePath(const std::string& relative);

// A path inside ../shared/data; empty where that folder does not exist.
std::string SharedPath(const std::string& relative);

// The whole file; CHECK-fails where it cannot be read.
std::string ReadFileOrDie(const std::string& path);

}  // namespace olmoe::testing

// First line of a test that needs ../shared/data/`relative`.
#define OLMOE_REQUIRE_SHARED(variable, relative)                              \
  const std::string variable = ::olmoe::testing::SharedPath(relative);        \
  if (variable.empty()) GTEST_SKIP() << "../shared/data/" relative " is absent"

#endif  // OLMOE_TESTS_SUPPORT_TEST_DATA_H_
