#include "client/render/progress.h"

#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::client::render {
namespace {

TEST(Progress, NothingIsWrittenWhereNobodyLooks) {
  std::ostringstream err;
  {
    Progress progress(err, /*visible=*/false);
    progress.Show("1 of 2");
  }
  EXPECT_EQ(err.str(), "");
}

TEST(Progress, TheLineIsGoneAtTheEnd) {
  std::ostringstream err;
  {
    Progress progress(err, /*visible=*/true);
    progress.Show("1 of 2");
  }
  EXPECT_EQ(err.str(), "\r\x1b[K1 of 2\r\x1b[K");
}

}  // namespace
}  // namespace olmoe::client::render
