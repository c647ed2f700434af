#ifndef OLMOE_TESTS_CLIENT_APP_FIXTURE_H_
#define OLMOE_TESTS_CLIENT_APP_FIXTURE_H_

#include <sstream>
#include <string>
#include <vector>

#include "client/app.h"
#include "gtest/gtest.h"
#include "tests/client/fake_server.h"

namespace olmoe::client {

// Runs olmoectl in this process against a fake server. Thread-compatible.
class AppFixture : public ::testing::Test {
 protected:
  commands::ExitCode Run(std::vector<std::string> arguments, const std::string& input = "") {
    arguments.insert(arguments.end(),
                     {"--server", server_.address(), "--admin", server_.address()});
    in_.clear();
    in_.str(input);
    out_.str("");
    err_.str("");
    return RunApp(arguments, {.in = &in_, .out = &out_, .err = &err_});
  }

  FakeServer server_;
  std::istringstream in_;
  std::ostringstream out_, err_;
};

}  // namespace olmoe::client

#endif  // OLMOE_TESTS_CLIENT_APP_FIXTURE_H_
