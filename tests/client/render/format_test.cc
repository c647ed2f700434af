#include "client/render/format.h"

#include "google/protobuf/duration.pb.h"
#include "gtest/gtest.h"

namespace olmoe::client::render {
namespace {

TEST(FormatSeconds, UnitFollowsSize) {
  EXPECT_EQ(FormatSeconds(0), "0 ns");
  EXPECT_EQ(FormatSeconds(850e-9), "850 ns");
  EXPECT_EQ(FormatSeconds(1.25e-5), "12.5 us");
  EXPECT_EQ(FormatSeconds(0.0012), "1.2 ms");
  EXPECT_EQ(FormatSeconds(3.456), "3.46 s");
  EXPECT_EQ(FormatSeconds(125), "2 min 5 s");
  EXPECT_EQ(FormatSeconds(7500), "2 h 5 min");
}

TEST(FormatDuration, SecondsAndNanosAdd) {
  google::protobuf::Duration duration;
  duration.set_seconds(1);
  duration.set_nanos(500000000);
  EXPECT_EQ(FormatDuration(duration), "1.50 s");
}

TEST(FormatBytes, BinaryUnits) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
  EXPECT_EQ(FormatBytes(uint64_t{3} << 30), "3.0 GiB");
}

TEST(Quote, WhatWouldDisturbATableIsEscaped) {
  EXPECT_EQ(Quote(" the"), "\" the\"");
  EXPECT_EQ(Quote("a\n\t\"\\"), "\"a\\n\\t\\\"\\\\\"");
  EXPECT_EQ(Quote("\x1b[2J"), "\"\\u001b[2J\"");
  EXPECT_EQ(Quote("\xe2\x82"), "\"\\xe2\\x82\"");
  EXPECT_EQ(Quote("\xe2\x82\xac"), "\"\xe2\x82\xac\"");
}

TEST(Quote, IsCutBetweenCharacters) {
  EXPECT_EQ(Quote("\xc3\xa9\xc3\xa9\xc3\xa9", 2), "\"\xc3\xa9\xc3\xa9\"...");
  EXPECT_EQ(Quote("ab", 2), "\"ab\"");
}

TEST(ForTerminal, AModelCannotSendEscapeSequences) {
  EXPECT_EQ(ForTerminal("a\x1b[31mb\nc\td"), "a\xef\xbf\xbd[31mb\nc\td");
  EXPECT_EQ(ForTerminal("\xc2\x9b"
                        "31m"),
            "\xef\xbf\xbd"
            "31m");  // the one-character form
  EXPECT_EQ(ForTerminal("caf\xc3\xa9"), "caf\xc3\xa9");
}

TEST(OneLine, LineBreaksBecomeSpaces) { EXPECT_EQ(OneLine("a\nb\r\x7f"), "a b  "); }

}  // namespace
}  // namespace olmoe::client::render
