#include "client/notation/duration.h"

#include "gtest/gtest.h"

namespace olmoe::client::notation {
namespace {

TEST(ParseDuration, TakesUnitsOrSeconds) {
  EXPECT_EQ(ParseDuration("10m")->seconds(), 600);
  EXPECT_EQ(ParseDuration("1h30m")->seconds(), 5400);
  EXPECT_EQ(ParseDuration("90")->seconds(), 90);
  EXPECT_EQ(ParseDuration("0.25")->nanos(), 250000000);
  EXPECT_EQ(ParseDuration("250ms")->nanos(), 250000000);
  EXPECT_EQ(ParseDuration("0")->seconds(), 0);
}

TEST(ParseDuration, RefusesWhatIsNoTime) {
  for (const char* text : {"", "-1s", "-1", "nan", "-nan", "inf", "1e300", "10x", "1000000h"}) {
    EXPECT_FALSE(ParseDuration(text).ok()) << text;
    EXPECT_NE(CheckDuration(text), "") << text;
  }
  EXPECT_EQ(CheckDuration("1s"), "");
}

}  // namespace
}  // namespace olmoe::client::notation
