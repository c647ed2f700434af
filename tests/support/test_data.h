// Where tests find data: in tests/data, whose README says what each file is and where it comes
// from. What is too large for the repository can be made or put there, or lie under the same
// name in ../shared/data beside the checkout; where it is absent, a test skips and says so.
#ifndef OLMOE_TESTS_SUPPORT_TEST_DATA_H_
#define OLMOE_TESTS_SUPPORT_TEST_DATA_H_

#include <string>

#include "gtest/gtest.h"

namespace olmoe::testing {

// A path inside the checkout.
std::string SourcePath(const std::string& relative);

// A file or folder of tests/data, else of ../shared/data; empty where neither has it.
std::string DataPath(const std::string& relative);

// The whole file; CHECK-fails where it cannot be read.
std::string ReadFileOrDie(const std::string& path);

}  // namespace olmoe::testing

// First line of a test that needs tests/data/`relative`.
#define OLMOE_REQUIRE_DATA(variable, relative)                       \
  const std::string variable = ::olmoe::testing::DataPath(relative); \
  if (variable.empty()) GTEST_SKIP() << "tests/data/" << relative << " is absent"

#endif  // OLMOE_TESTS_SUPPORT_TEST_DATA_H_
